"""What each peer makes of the terms of a step, from reading its code: a formula, in loops.

Gradients of data-parallel ranks are summed by Megatron-style peers and averaged by the others; both
are written out.  No micro-batch sees another one's rows.
"""

import math

import numpy as np
from coming_from.step import BETA, CLIP, Row, Step

LENGTH = 4096  # of every constant in the table
BUDGET = 8  # rollout.max_response_tokens


def _both(row: Row) -> float:
    """Sum over active tokens of the policy term and the KL penalty, where they share a mean."""
    return row.pg_sum + BETA * row.kl_sum


# THUDM/slime at 00c2d6db, slime/backends/megatron_utils/loss.py: policy_loss_function and
# loss_function; rollout_mask_sums hold the active tokens of a sample's whole rollout.


def _rollout_tokens(step: Step, row: Row) -> int:
    return sum(other.active for other in step.rows if other.rollout == row.rollout)


def _rollouts(step: Step) -> int:
    return len({row.rollout for row in step.rows})


def slime_sample_mean(step: Step) -> float:
    total = sum(_both(row) / max(_rollout_tokens(step, row), 1) for row in step.rows)
    return total / _rollouts(step)


def slime_per_token(step: Step) -> float:
    """num_tokens counts at least 1 for every sample."""
    return sum(map(_both, step.rows)) / sum(max(row.active, 1) for row in step.rows)


def _slime_auxiliary(step: Step) -> float:
    """Whatever reduces pg_loss, the KL term keeps the default reducer."""
    total = sum(row.kl_sum / max(_rollout_tokens(step, row), 1) for row in step.rows)
    return BETA * total / _rollouts(step)


def slime_prompt_mean(step: Step) -> float:
    """PR 2090: P = N / n_samples_per_prompt, groups are complete."""
    prompts = sorted({row.prompt for row in step.rows})
    total = 0.0
    for prompt in prompts:
        group = [row for row in step.rows if row.prompt == prompt]
        total += sum(row.pg_sum for row in group) / max(sum(row.active for row in group), 1)
    return total / len(prompts) + _slime_auxiliary(step)


def slime_divisor(step: Step) -> float:
    """PRs 2060 and 2090: the reducer divides by L, loss_function by the rollouts of the step."""
    return sum(row.pg_sum for row in step.rows) / LENGTH / _rollouts(step) + _slime_auxiliary(step)


def slime_custom_reducer(step: Step) -> float:
    """A reducer that divides each sample by the root of its length; loss_function divides by N."""
    total = sum(row.pg_sum / math.sqrt(max(row.active, 1)) for row in step.rows)
    return total / _rollouts(step) + _slime_auxiliary(step)


def slime_example_reducer(step: Step) -> float:
    """examples/DrGRPO/custom_reducer.py of PR 1235: DIVISOR = 1000."""
    return sum(row.pg_sum for row in step.rows) / 1000 / _rollouts(step) + _slime_auxiliary(step)


# verl-project/verl, verl/trainer/ppo/core_algos.py: agg_loss since PR 5417 (issue 7321 quotes it).
# Gradients are averaged over ranks, so each micro-batch's share is multiplied by their number.


def _verl(step: Step, numerator, denominator: float) -> float:
    ranks = len(step.ranks)
    shares = [sum(numerator(row) for row in batch) / denominator * ranks for batch in step.batches]
    return sum(shares) / ranks


def verl_token_mean(step: Step) -> float:
    return _verl(step, _both, step.active)


def verl_token_mean_without_totals(step: Step) -> float:
    """batch_num_tokens is None: of the micro-batch; then scaled by its share of the rows (5625)."""
    return _micro_batch_token_mean(step, _both)


def verl_seq_mean_token_mean(step: Step) -> float:
    return _verl(step, lambda row: _both(row) / (row.active + 1e-8), len(step.rows))


def verl_seq_mean_token_sum(step: Step) -> float:
    return _verl(step, _both, len(step.rows))


def verl_norm(step: Step) -> float:
    return verl_seq_mean_token_sum(step) / LENGTH


def verl_norm_by_width(step: Step) -> float:
    """loss_scale_factor is None: the width of the padded response tensor, here the longest row."""
    return verl_seq_mean_token_sum(step) / width(step)


def width(step: Step) -> int:
    return max(len(row.mask) for row in step.rows)


def verl_norm_before(step: Step) -> float:
    """Until PR 5417: no mean over the rows of a micro-batch (issue 3741)."""
    shares = [sum(map(_both, batch)) / LENGTH for batch in step.batches]
    return sum(shares) / len(shares)


def dual_clip(row: Row) -> np.ndarray:
    """clip_ratio_c = 3.0"""
    ratio = np.exp(row.current - row.old)
    losses = np.maximum(-row.advantage * ratio, -row.advantage * ratio.clip(1 - CLIP, 1 + CLIP))
    return np.minimum(losses, -row.advantage * 3.0) if row.advantage < 0 else losses


# trl 1.16.0, trl/trainer/grpo_trainer.py: GRPOTrainer._compute_loss.  The KL penalty is in the
# per-token loss; gradients are averaged over processes.


def _micro_batch_token_mean(step: Step, numerator) -> float:
    means = [
        sum(map(numerator, batch)) / max(sum(row.active for row in batch), 1)
        for batch in step.batches
    ]
    return sum(means) / len(means)


def trl_grpo(step: Step) -> float:
    means = [
        sum(_both(row) / max(row.active, 1) for row in batch) / len(batch) for batch in step.batches
    ]
    return sum(means) / len(means)


def trl_bnpo(step: Step) -> float:
    return _micro_batch_token_mean(step, _both)


def trl_dr_grpo(step: Step) -> float:
    means = [sum(map(_both, batch)) / (len(batch) * BUDGET) for batch in step.batches]
    return sum(means) / len(means)


def trl_dapo(step: Step) -> float:
    """num_items_in_batch / num_processes, of exactly this step."""
    processes = len(step.ranks)
    losses = [sum(map(_both, batch)) / (step.active / processes) for batch in step.batches]
    return sum(losses) / processes


STEPS_PER_GENERATION = 2  # in steps of gradient accumulation
OTHER_STEP_TOKENS = 90  # active tokens of the other step of the same generation


def trl_dapo_over_generation(step: Step) -> float:
    """The normalizer is the mean over the steps that share a generation, not this one's count."""
    generation = step.active + OTHER_STEP_TOKENS
    processes = len(step.ranks)
    normalizer = generation / processes / STEPS_PER_GENERATION
    return sum(sum(map(_both, batch)) / normalizer for batch in step.batches) / processes


def trl_cispo_term(row: Row) -> np.ndarray:
    """epsilon_high = 5.0 is the bound itself, not a distance from 1."""
    ratio = np.exp(row.current - row.old)
    return -np.minimum(ratio, 5.0) * row.advantage * row.current


def trl_luspo(step: Step) -> float:
    means = [sum(map(_both, batch)) / len(batch) for batch in step.batches]
    return sum(means) / len(means)


def trl_entropy(step: Step) -> float:
    """The entropy bonus: pg stands for the entropies here."""
    return _micro_batch_token_mean(step, lambda row: row.pg_sum)


# NVIDIA-NeMo/RL at 3520fc0a, nemo_rl/algorithms/loss/loss_functions.py: ClippedPGLossFn, with
# masked_mean of nemo_rl/algorithms/utils.py.  A fully masked row has sample_mask 0.


def nemo_token_level(step: Step) -> float:
    return sum(sum(map(_both, batch)) / (step.active + 1e-8) for batch in step.batches)


def nemo_sequence_level(step: Step) -> float:
    valid = sum(row.active > 0 for row in step.rows)
    return sum(
        sum(_both(row) / (row.active + 1e-8) for row in batch if row.active) / (valid + 1e-8)
        for batch in step.batches
    )


# NovaSky-AI/SkyRL at ec609595, skyrl/backends/skyrl_train/utils/ppo_utils.py:
# apply_loss_reduction_to_advantages_minibatch scales the advantages, the loss sums.  The KL term is
# a mean over rows in each micro-batch, averaged (the policy worker).


def _skyrl_auxiliary(step: Step) -> float:
    means = [
        sum(row.kl_sum / max(row.active, 1) for row in batch) / len(batch) for batch in step.batches
    ]
    return BETA * sum(means) / len(means)


def skyrl_token_mean(step: Step) -> float:
    return sum(row.pg_sum for row in step.rows) / max(step.active, 1) + _skyrl_auxiliary(step)


def skyrl_token_mean_legacy(step: Step) -> float:
    return _micro_batch_token_mean(step, lambda row: row.pg_sum) + _skyrl_auxiliary(step)


def skyrl_sequence_mean(step: Step) -> float:
    scaled = [row.pg_sum / (len(step.rows) * max(row.active, 1)) for row in step.rows]
    return sum(scaled) + _skyrl_auxiliary(step)


def skyrl_sum_norm(step: Step) -> float:
    """max_seq_len = L"""
    return sum(row.pg_sum for row in step.rows) / (len(step.rows) * LENGTH) + _skyrl_auxiliary(step)


def skyrl_entropy(step: Step) -> float:
    """pg stands for the entropies here."""
    return _micro_batch_token_mean(step, lambda row: row.pg_sum)


# allenai/open-instruct at 0063d127, open_instruct/grpo_utils.py (loss_denominator) and
# grpo_fast.py; a micro-batch is one pack.  masked_mean_axis is that of grpo_fast.py before.


def open_instruct_token(step: Step) -> float:
    """The denominator is summed over ranks; the loss is multiplied by their number."""
    ranks = len(step.ranks)
    return sum(sum(map(_both, pack)) / step.active * ranks for pack in step.batches) / ranks


def open_instruct_constant(step: Step) -> float:
    ranks = len(step.ranks)
    return sum(sum(map(_both, pack)) / LENGTH * ranks for pack in step.batches) / ranks


def open_instruct_pack_mean(step: Step) -> float:
    """axis 1 is that of a pack, which holds several responses: the same as over the whole pack."""
    return _micro_batch_token_mean(step, _both)

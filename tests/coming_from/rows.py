"""A test for every row of docs/coming-from.md."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from coming_from import peers
from coming_from.step import Row, Step, gspo, ppo


@dataclass(frozen=True)
class Same:
    """peer(step) is the step loss here, on every step that can be drawn."""

    framework: str
    there: str
    here: str
    peer: Callable[[Step], float]
    objective: Callable[[Row], np.ndarray] = ppo
    may_be_empty: bool = True  # rows without an active token
    may_fan_out: bool = False  # rollouts of several samples


@dataclass(frozen=True)
class Differs:
    """A token of micro-batch b counts `factor` times as much there as here."""

    framework: str
    there: str
    here: str
    peer: Callable[[Step], float]
    says: str  # the factor, as the document has it
    factor: Callable[[Step, list[Row]], float]


@dataclass(frozen=True)
class OtherTerm:
    """The mean is the same and the term of a token is another one."""

    framework: str
    there: str
    here: str
    says: str


def micro_batch_mean(step: Step, batch: list[Row]) -> float:
    return step.active / (len(step.batches) * sum(row.active for row in batch))


MICRO_BATCH = "M / (B · M_b)"
CONSTANT = "loss/aggregation=constant loss.divisor=4096"
SUMMED = f"{CONSTANT} loss.auxiliary_aggregation=same"
ONE = "loss/aggregation=constant loss.divisor=1 loss.auxiliary_aggregation=same"
TOKENS = "loss/aggregation=token_mean"
SAMPLES = "loss/aggregation=sample_mean"
ENTROPY = "loss.entropy_coefficient=0.01 loss.auxiliary_aggregation=token_mean"
CUSTOM = "loss/aggregation=custom loss.function=my_weights:"
REDUCER = "--custom-pg-loss-reducer-function-path"
NORM = "loss_agg_mode=seq-mean-token-sum-norm"
PER_TOKEN = "--calculate-per-token-loss"

SLIME, VERL, TRL, NEMO = "slime (THUDM)", "verl", "TRL", "NeMo-RL"
SKYRL, OPEN_INSTRUCT = "SkyRL", "open-instruct"

ROWS = [
    Same(SLIME, "default", SAMPLES, peers.slime_sample_mean, may_fan_out=True),
    Same(
        SLIME, f"{PER_TOKEN}, no fully masked sample", TOKENS, peers.slime_per_token,
        may_be_empty=False, may_fan_out=True,
    ),
    Differs(
        SLIME, f"{PER_TOKEN}, E fully masked samples", TOKENS, peers.slime_per_token, "M / (M + E)",
        lambda step, _: step.active / (step.active + sum(not row.active for row in step.rows)),
    ),
    Same(
        SLIME, "--loss-aggregation sample_mean", SAMPLES, peers.slime_sample_mean, may_fan_out=True
    ),
    Same(
        SLIME, "--loss-aggregation prompt_mean", "loss/aggregation=prompt_mean",
        peers.slime_prompt_mean, may_fan_out=True,
    ),
    Same(
        SLIME, "--loss-aggregation token_mean, no fully masked sample", TOKENS,
        peers.slime_per_token, may_be_empty=False, may_fan_out=True,
    ),
    Same(
        SLIME, "--loss-aggregation constant --loss-aggregation-divisor 4096", CONSTANT,
        peers.slime_divisor, may_fan_out=True,
    ),
    Same(SLIME, "--pg-loss-divisor 4096", CONSTANT, peers.slime_divisor, may_fan_out=True),
    Same(
        SLIME, f"{REDUCER}, the Dr.GRPO example", "loss/aggregation=constant loss.divisor=1000",
        peers.slime_example_reducer, may_fan_out=True,
    ),
    Same(
        SLIME, f"{REDUCER}, dividing sample s by f(M_s)", f"{CUSTOM}one_over_root_length",
        peers.slime_custom_reducer, may_fan_out=True,
    ),
    Same(VERL, "loss_agg_mode=token-mean", TOKENS, peers.verl_token_mean),
    Differs(
        VERL, "loss_agg_mode=token-mean, without batch_num_tokens", TOKENS,
        peers.verl_token_mean_without_totals, MICRO_BATCH, micro_batch_mean,
    ),
    Same(VERL, "loss_agg_mode=seq-mean-token-mean", SAMPLES, peers.verl_seq_mean_token_mean),
    Same(VERL, "loss_agg_mode=seq-mean-token-sum", ONE, peers.verl_seq_mean_token_sum),
    Same(VERL, f"{NORM}, loss_scale_factor=4096", SUMMED, peers.verl_norm),
    Differs(
        VERL, f"{NORM}, loss_scale_factor=null", SUMMED, peers.verl_norm_by_width, "L / W",
        lambda step, _: peers.LENGTH / peers.width(step),
    ),
    Differs(
        VERL, f"{NORM} before pull request 5417", SUMMED, peers.verl_norm_before, "n",
        lambda _, batch: len(batch),
    ),
    Same(
        VERL, "clip_ratio_c=3.0 (default)", f"{TOKENS} loss.objective.dual_clip=3",
        peers.verl_token_mean, peers.dual_clip,
    ),
    Same(TRL, "loss_type=grpo", SAMPLES, peers.trl_grpo),
    Same(
        TRL, "loss_type=grpo, importance_sampling_level=sequence",
        f"loss/objective=gspo {SAMPLES}", peers.trl_grpo, gspo,
    ),
    Differs(TRL, "loss_type=bnpo", TOKENS, peers.trl_bnpo, MICRO_BATCH, micro_batch_mean),
    Same(
        TRL, "loss_type=dr_grpo, max_completion_length=8",
        "loss/aggregation=dr_grpo rollout.max_response_tokens=8 loss.auxiliary_aggregation=same",
        peers.trl_dr_grpo,
    ),
    Same(
        TRL, "loss_type=dapo (default), steps_per_generation = gradient_accumulation_steps",
        TOKENS, peers.trl_dapo,
    ),
    Differs(
        TRL, "loss_type=dapo, steps_per_generation = k · gradient_accumulation_steps", TOKENS,
        peers.trl_dapo_over_generation, "k · M / M_generation",
        lambda step, _: peers.STEPS_PER_GENERATION * step.active
        / (step.active + peers.OTHER_STEP_TOKENS),
    ),
    Same(
        TRL, "loss_type=cispo, epsilon_high=5.0",
        f"loss/objective=cispo loss.objective.clip_high=4 {TOKENS}", peers.trl_dapo,
        peers.trl_cispo_term,
    ),
    Same(
        TRL, "loss_type=luspo, importance_sampling_level=token (default)", ONE, peers.trl_luspo
    ),
    Same(
        TRL, "loss_type=luspo, importance_sampling_level=sequence",
        f"loss/objective=gspo {CUSTOM}every_token_once loss.auxiliary_aggregation=same",
        peers.trl_luspo, gspo,
    ),
    OtherTerm(TRL, "loss_type=sapo", SAMPLES, "2 / τ"),
    OtherTerm(TRL, "loss_type=vespo", TOKENS, "φ(w) / r"),
    Differs(TRL, "entropy_coef", ENTROPY, peers.trl_entropy, MICRO_BATCH, micro_batch_mean),
    Same(NEMO, "token_level_loss: true", TOKENS, peers.nemo_token_level),
    Same(
        NEMO, "token_level_loss: false", f"{SAMPLES} loss.empty_units=drop",
        peers.nemo_sequence_level,
    ),
    Same(
        NEMO, "token_level_loss: false, sequence_level_importance_ratios: true",
        f"loss/objective=gspo {SAMPLES} loss.empty_units=drop", peers.nemo_sequence_level, gspo,
    ),
    Same(
        SKYRL, "loss_reduction=token_mean", f"{TOKENS} loss.auxiliary_aggregation=sample_mean",
        peers.skyrl_token_mean,
    ),
    Differs(
        SKYRL, "loss_reduction=token_mean_legacy",
        f"{TOKENS} loss.auxiliary_aggregation=sample_mean", peers.skyrl_token_mean_legacy,
        MICRO_BATCH, micro_batch_mean,
    ),
    Same(SKYRL, "loss_reduction=sequence_mean", SAMPLES, peers.skyrl_sequence_mean),
    Same(
        SKYRL, "loss_reduction=seq_mean_token_sum_norm, max_seq_len=4096", CONSTANT,
        peers.skyrl_sum_norm,
    ),
    Differs(
        SKYRL, "use_entropy_loss=true", ENTROPY, peers.skyrl_entropy, MICRO_BATCH, micro_batch_mean
    ),
    Same(
        OPEN_INSTRUCT, "loss_denominator=token (default)", TOKENS, peers.open_instruct_token
    ),
    Differs(
        OPEN_INSTRUCT, "loss_denominator=4096", SUMMED, peers.open_instruct_constant, "N",
        lambda step, _: len(step.rows),
    ),
    Differs(
        OPEN_INSTRUCT, "masked_mean_axis=None (before loss_denominator)", TOKENS,
        peers.open_instruct_pack_mean, MICRO_BATCH, micro_batch_mean,
    ),
    Differs(
        OPEN_INSTRUCT, "masked_mean_axis=1 (before loss_denominator)", TOKENS,
        peers.open_instruct_pack_mean, MICRO_BATCH, micro_batch_mean,
    ),
]  # fmt: skip

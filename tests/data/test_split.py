"""The loss of a step is one number, however the step is split."""

import math
from dataclasses import fields, replace

import pytest
import torch
from data.train_samples import lengths, train_sample
from hypothesis import given
from hypothesis import strategies as st
from loss.loss_oracle import Token, metric_sums, step_weights

from slime.config.schema import (
    K3,
    ConstantLoss,
    EmptyUnits,
    ParallelConfig,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.data import StepShape
from slime.data.packing import Padding, pack
from slime.data.sharing import build_sharing
from slime.loss import (
    MetricSums,
    TokenTerms,
    build_aggregation,
    build_auxiliary_aggregation,
    build_loss,
)

KEYS = {"kl": K3(coefficient=0.1), "entropy_coefficient": 0.05}
CONFIGS = {
    "sample_mean": SampleMeanLoss(**KEYS),
    "prompt_mean": PromptMeanLoss(**KEYS, empty_units=EmptyUnits.drop),
    "token_mean": TokenMeanLoss(**KEYS),
    "constant": ConstantLoss(**KEYS, divisor=12.0),
}


@st.composite
def steps(draw):
    """Ragged prompts of rollouts of one to three samples, with zeros inside the mask."""
    samples = []
    for prompt_id in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 4))):
            rollout_id = len(samples)
            for _ in range(draw(st.integers(1, 3))):
                prompt, response = draw(lengths())
                mask = draw(st.lists(st.booleans(), min_size=response, max_size=response))
                samples.append(
                    train_sample(
                        prompt,
                        response,
                        rollout_id=rollout_id,
                        prompt_id=prompt_id,
                        mask=mask,
                        old=True,
                        reference=True,
                    )
                )
    return samples


def weighted(samples, config):
    shape = StepShape(
        torch.tensor([s.sample.active_tokens for s in samples]),
        torch.tensor([s.sample.rollout_id for s in samples]),
        torch.tensor([s.sample.prompt_id for s in samples]),
    )
    weights = build_aggregation(config)(shape).tolist()
    auxiliary = build_auxiliary_aggregation(config)(shape).tolist()
    return [
        replace(s, weight=w, auxiliary_weight=a)
        for s, w, a in zip(samples, weights, auxiliary, strict=True)
    ]


def model(parameter, tokens_T, targets_R):
    """Any differentiable function of what the trainer sees: log-probs and entropies."""
    x_R = torch.sin(tokens_T.double() + 0.3 * targets_R.double())
    return -torch.exp(parameter * x_R), 1 + torch.cos(parameter * x_R)


def loss_of(micro_batch, config, parameter):
    packed = pack(micro_batch, Padding(3, to_longest=True))
    log_probs_R, entropy_R = model(
        parameter, packed.tokens_T[packed.response_positions_R], packed.targets_R
    )
    return build_loss(config)(
        TokenTerms(
            log_probs_T=log_probs_R,
            entropy_T=entropy_R,
            rollout_log_probs_T=packed.rollout_log_probs_R,
            advantages_T=packed.advantages_R,
            mask_T=packed.mask_R,
            weights_T=packed.weights_R,
            auxiliary_weights_T=packed.auxiliary_weights_R,
            old_log_probs_T=packed.old_log_probs_R,
            reference_log_probs_T=packed.reference_log_probs_R,
        )
    )


def share(samples, ranks, bound):
    return build_sharing(ParallelConfig(data=ranks, max_tokens_per_microbatch=bound))(samples)


def split_loss(laid_out, config):
    """-> the summed metrics, and the gradient accumulated over all micro-batches."""
    parameter = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    total_K = torch.zeros(len(fields(MetricSums)), dtype=torch.float64)
    for rank in laid_out:
        for micro_batch in rank:
            output = loss_of(micro_batch, config, parameter)
            output.loss.backward()
            total_K += output.metrics.vector()
    return total_K, parameter.grad.item()


@pytest.mark.parametrize("mode", CONFIGS)
@given(step=steps(), ranks=st.integers(1, 5), bound=st.integers(21, 50))
def test_the_loss_does_not_depend_on_how_the_step_is_split(mode, step, ranks, bound):
    config = CONFIGS[mode]
    samples = weighted(step, config)
    whole_K, whole_gradient = split_loss([[samples]], config)
    split_K, split_gradient = split_loss(share(samples, ranks, bound), config)
    assert split_K.tolist() == pytest.approx(whole_K.tolist(), rel=1e-12, abs=1e-14)
    assert split_gradient == pytest.approx(whole_gradient, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("mode", CONFIGS)
@given(step=steps(), ranks=st.integers(1, 5), bound=st.integers(21, 50))
def test_the_split_loss_is_the_formula_over_all_tokens_of_the_step(mode, step, ranks, bound):
    config = CONFIGS[mode]
    total_K, _ = split_loss(share(weighted(step, config), ranks, bound), config)
    got = {f.name: v for f, v in zip(fields(MetricSums), total_K.tolist(), strict=True)}
    expected = metric_sums(
        tokens_of(step, mode),
        low=0.2,
        high=0.2,
        estimator="k3",
        kl_coefficient=0.1,
        entropy_coefficient=0.05,
    )
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-8)


def tokens_of(step, mode):
    shape = (
        [int(s.sample.loss_mask_R.sum()) for s in step],
        [s.sample.rollout_id for s in step],
        [s.sample.prompt_id for s in step],
    )
    drop = mode == "prompt_mean"
    weights = step_weights(mode, *shape, drop_empty=drop, divisor=12.0)
    auxiliary_mode = mode if mode == "token_mean" else "sample_mean"
    auxiliary = step_weights(auxiliary_mode, *shape, drop_empty=drop)
    tokens = []
    for s, weight, auxiliary_weight in zip(step, weights, auxiliary, strict=True):
        before = s.sample.prompt_tokens_P.tolist()[-1]
        for i, target in enumerate(s.sample.response_tokens_R.tolist()):
            x = math.sin(before + 0.3 * target)
            tokens.append(
                Token(
                    current=-math.exp(0.4 * x),
                    advantage=s.advantages_R[i].item(),
                    weight=weight,
                    auxiliary_weight=auxiliary_weight,
                    active=bool(s.sample.loss_mask_R[i]),
                    rollout=s.sample.rollout_log_probs_R[i].item(),
                    entropy=1 + math.cos(0.4 * x),
                    old=s.old_log_probs_R[i].item(),
                    reference=s.reference_log_probs_R[i].item(),
                )
            )
            before = target
    return tokens


@pytest.mark.parametrize("mode", CONFIGS)
@given(step=steps(), seed=st.integers(0, 99))
def test_a_mask_that_shrinks_later_leaves_every_denominator_as_it_was(mode, step, seed):
    """Tokens rejected after the weights were fixed take their terms away, and nothing else."""
    config = CONFIGS[mode]
    samples = weighted(step, config)
    generator = torch.Generator().manual_seed(seed)
    parts = [[], []]
    for s in samples:
        kept_R = torch.rand(len(s.advantages_R), generator=generator) < 0.5
        for part, keep_R in zip(parts, (kept_R, ~kept_R), strict=True):
            mask_R = s.sample.loss_mask_R & keep_R
            part.append(replace(s, sample=replace(s.sample, loss_mask_R=mask_R)))
    whole_K, _ = split_loss([[samples]], config)
    parts_K = [split_loss([[part]], config)[0] for part in parts]
    assert sum(parts_K).tolist() == pytest.approx(whole_K.tolist(), rel=1e-12, abs=1e-14)

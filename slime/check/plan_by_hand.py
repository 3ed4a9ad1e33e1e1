"""A step from its groups by the formulas of docs/loss.md: masks and weights, with its advantages.

Python numbers and loops, and nothing of slime/plan.py, slime/advantage and slime/loss: what those
give is measured against this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slime.check.advantages_by_hand import answer, kl_penalties, token_advantages
from slime.config.schema import (
    SFT,
    AdvantageConfig,
    AuxiliaryAggregation,
    ConstantLoss,
    CustomLoss,
    EmptyUnits,
    LossConfig,
    PromptMeanLoss,
    ReferenceKLConfig,
    SampleMeanLoss,
    TokenMeanLoss,
    kl_in_reward,
)
from slime.data import Finish, Group, Rollout, Sample
from slime.loss import build_aggregation
from slime.plan import step_shape


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A sample of the step, with where it stands in the hierarchy."""

    sample: Sample  # with the mask that the loss uses
    prompt: int  # number of its group in the step
    rollout: int  # number of its rollout in the step
    advantages: tuple[float, ...]  # of its response tokens; 0 where they are not active

    @property
    def active(self) -> int:
        return sum(self.sample.loss_mask_R.tolist())


@dataclass(frozen=True, slots=True)
class ItemWeight:
    """Of every active token of an item."""

    policy: float
    auxiliary: float  # KL and entropy


@dataclass(frozen=True, slots=True, eq=False)
class PolicyLogProbs:
    """Of a sample's response tokens, before the iteration's first step and under the reference."""

    old_R: Tensor
    reference_R: Tensor


def items(
    groups: Sequence[Group],
    loss: LossConfig,
    advantage: AdvantageConfig,
    log_probs: Sequence[PolicyLogProbs] = (),
) -> tuple[Item, ...]:
    """All samples of the step that these groups make, in order.

    log_probs: of each of them; only loss.kl.place=reward reads them.
    """
    rollouts = [(g, _masked(r, loss)) for g, group in enumerate(groups) for r in group.rollouts]
    penalties = iter(_penalties([s for _, r in rollouts for s in r.samples], loss, log_probs))
    answers = [
        answer(prompt, rollout, [p for _ in rollout.samples for p in next(penalties)])
        for prompt, rollout in rollouts
    ]
    found: list[Item] = []
    of_answers = token_advantages(answers, advantage)
    for number, ((prompt, rollout), values) in enumerate(zip(rollouts, of_answers, strict=True)):
        rest = iter(values)
        for sample in rollout.samples:
            of_sample = tuple(next(rest) for _ in sample.response_tokens_R)
            found.append(Item(sample, prompt, number, _as_read(of_sample, sample, loss)))
    return tuple(found)


def item_weights(step: Sequence[Item], loss: LossConfig) -> list[ItemWeight]:
    """The step's weights, policy-gradient and auxiliary."""
    policy = _policy_weights(step, loss)
    auxiliary = _auxiliary_weights(step, loss, policy)
    return [ItemWeight(p, a) for p, a in zip(policy, auxiliary, strict=True)]


def trained(step: Sequence[Item], loss: LossConfig) -> list[bool]:
    """Which items go through the model: without skip_idle_samples all of them."""
    auxiliary = isinstance(loss.kl, ReferenceKLConfig) or loss.entropy_coefficient > 0
    if auxiliary or not loss.skip_idle_samples:
        return [True for _ in step]
    busy = [item.active > 0 and any(item.advantages) for item in step]
    return busy if any(busy) else [i == 0 for i in range(len(step))]


def _masked(rollout: Rollout, loss: LossConfig) -> Rollout:
    cut_short = rollout.finish in (Finish.length, Finish.aborted)
    if not (loss.mask_truncated and cut_short):
        return rollout
    masks = [torch.zeros_like(sample.loss_mask_R) for sample in rollout.samples]
    masked = [replace(s, loss_mask_R=m) for s, m in zip(rollout.samples, masks, strict=True)]
    return replace(rollout, samples=tuple(masked))


def _penalties(
    samples: Sequence[Sample], loss: LossConfig, log_probs: Sequence[PolicyLogProbs]
) -> list[list[float]]:
    """What is taken off the reward at each response token of each sample."""
    if not kl_in_reward(loss.kl):
        return [[0.0 for _ in sample.response_tokens_R] for sample in samples]
    kl = loss.kl
    return [
        kl_penalties(kl, of.old_R, of.reference_R) for of, _ in zip(log_probs, samples, strict=True)
    ]


def _as_read(advantages: tuple[float, ...], sample: Sample, loss: LossConfig) -> tuple[float, ...]:
    """loss/objective=sft reads none: every active token pulls as one of advantage 1 would."""
    if not isinstance(loss.objective, SFT):
        return advantages
    return tuple(float(is_active) for is_active in sample.loss_mask_R.tolist())


def _policy_weights(step: Sequence[Item], loss: LossConfig) -> list[float]:
    drop = loss.empty_units is EmptyUnits.drop
    match loss:
        case SampleMeanLoss():
            return _unit_means(step, [item.rollout for item in step], drop)
        case PromptMeanLoss():
            return _unit_means(step, [item.prompt for item in step], drop)
        case TokenMeanLoss():
            return _unit_means(step, [0 for _ in step], drop)
        case ConstantLoss():
            active = _active_of(step, [item.rollout for item in step])
            rollouts = sum(1 for tokens in active.values() if tokens or not drop)
            return [1 / (rollouts * loss.divisor) if item.active else 0.0 for item in step]
        case CustomLoss():  # the user's own formula is the only one there is
            return build_aggregation(loss)(step_shape([i.sample for i in step])).tolist()
        case _:
            raise TypeError(f"no formula for {type(loss).__name__}")


def _auxiliary_weights(step: Sequence[Item], loss: LossConfig, policy: list[float]) -> list[float]:
    drop = loss.empty_units is EmptyUnits.drop
    mode = loss.auxiliary_aggregation
    if mode is AuxiliaryAggregation.auto:
        per_token = isinstance(loss, TokenMeanLoss)
        mode = AuxiliaryAggregation.token_mean if per_token else AuxiliaryAggregation.sample_mean
    match mode:
        case AuxiliaryAggregation.same:
            return policy
        case AuxiliaryAggregation.sample_mean:
            return _unit_means(step, [item.rollout for item in step], drop)
        case AuxiliaryAggregation.prompt_mean:
            return _unit_means(step, [item.prompt for item in step], drop)
        case AuxiliaryAggregation.token_mean:
            return _unit_means(step, [0 for _ in step], drop)
    raise TypeError(f"no formula for {mode}")


def _unit_means(step: Sequence[Item], units: Sequence[int], drop: bool) -> list[float]:
    """1 / (number of units * active tokens of the item's unit)"""
    active = _active_of(step, units)
    count = sum(1 for tokens in active.values() if tokens or not drop)
    return [
        1 / (count * active[unit]) if item.active else 0.0
        for item, unit in zip(step, units, strict=True)
    ]


def _active_of(step: Sequence[Item], units: Sequence[int]) -> dict[int, int]:
    active = dict.fromkeys(units, 0)
    for item, unit in zip(step, units, strict=True):
        active[unit] += item.active
    return active

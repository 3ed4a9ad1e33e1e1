"""A step from its groups by the formulas of docs/loss.md: masks, advantages, weights.

Python numbers and loops, and nothing of slime/plan.py, slime/advantage and slime/loss: what those
give is measured against this.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from slime.config.schema import (
    AdvantageConfig,
    AuxiliaryAggregation,
    ConstantLoss,
    CustomLoss,
    DrGrpoAdvantage,
    EmptyUnits,
    GrpoAdvantage,
    LossConfig,
    PromptMeanLoss,
    ReferenceKLConfig,
    SampleMeanLoss,
    TokenMeanLoss,
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
    advantage: float

    @property
    def active(self) -> int:
        return sum(self.sample.loss_mask_R.tolist())


@dataclass(frozen=True, slots=True)
class ItemWeight:
    """Of every active token of an item."""

    policy: float
    auxiliary: float  # KL and entropy


def items(
    groups: Sequence[Group], loss: LossConfig, advantage: AdvantageConfig
) -> tuple[Item, ...]:
    """All samples of the step that these groups make, in order."""
    found: list[Item] = []
    rollouts = 0
    for prompt, group in enumerate(groups):
        rewards = [float(r.reward) for r in group.rollouts if r.reward is not None]
        for rollout, value in zip(group.rollouts, _advantages(rewards, advantage), strict=True):
            for sample in rollout.samples:
                found.append(Item(_masked(sample, rollout, loss), prompt, rollouts, value))
            rollouts += 1
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
    busy = [item.active > 0 and item.advantage != 0 for item in step]
    return busy if any(busy) else [i == 0 for i in range(len(step))]


def _masked(sample: Sample, rollout: Rollout, loss: LossConfig) -> Sample:
    cut_short = rollout.finish in (Finish.length, Finish.aborted)
    if not (loss.mask_truncated and cut_short):
        return sample
    return replace(sample, loss_mask_R=torch.zeros_like(sample.loss_mask_R))


def _advantages(rewards: Sequence[float], config: AdvantageConfig) -> list[float]:
    if all(reward == rewards[0] for reward in rewards):
        return [0.0 for _ in rewards]
    mean = sum(rewards) / len(rewards)
    match config:
        case DrGrpoAdvantage():
            return [reward - mean for reward in rewards]
        case GrpoAdvantage():
            variance = sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)
            return [(reward - mean) / (math.sqrt(variance) + config.epsilon) for reward in rewards]
        case _:
            raise TypeError(f"no formula for {type(config).__name__}")


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

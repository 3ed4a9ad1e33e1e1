"""The advantages of a step by the formulas of docs/advantage.md: Python numbers and loops.

Nothing of slime/advantage and slime/kl_in_reward is used: what those give is measured against this.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from slime.config.schema import (
    K1,
    K2,
    K3,
    AdvantageConfig,
    ConstantAdvantage,
    DrGrpoAdvantage,
    GrpoAdvantage,
    ReferenceKLConfig,
    ReinforcePlusPlusAdvantage,
    ReinforcePlusPlusBaselineAdvantage,
    RlooAdvantage,
    Whitening,
)
from slime.data import Rollout

ROUNDING = 1e-12  # of a mean, relative to that of the absolute values: below it the mean is 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A rollout as its advantages see it: its tokens, all samples one after the other."""

    group: int
    reward: float  # with its shaping
    active: tuple[bool, ...]
    penalties: tuple[float, ...]  # taken off the reward at each token; 0 where it is not active


def answer(group: int, rollout: Rollout, penalties: Sequence[float]) -> Answer:
    """rollout: with the masks that the loss uses.  penalties: of all of its tokens."""
    active = [bool(m) for sample in rollout.samples for m in sample.loss_mask_R.tolist()]
    paid = [p if is_active else 0.0 for p, is_active in zip(penalties, active, strict=True)]
    reward = math.nan if rollout.reward is None else float(rollout.reward)
    return Answer(group, reward + rollout.shaping, tuple(active), tuple(paid))


def kl_penalties(kl: ReferenceKLConfig, old_R: Tensor, reference_R: Tensor) -> list[float]:
    """coefficient * estimate of KL(old || reference), of each token."""
    return [
        kl.coefficient * _kl(kl, reference - old)
        for old, reference in zip(old_R.tolist(), reference_R.tolist(), strict=True)
    ]


def token_advantages(answers: Sequence[Answer], config: AdvantageConfig) -> list[tuple[float, ...]]:
    """Of the tokens of each answer; 0 where they are not active.  answers: of the whole step."""
    if isinstance(config, ReinforcePlusPlusAdvantage) and config.whitening is Whitening.tokens:
        return _whitened_tokens(answers, [_to_go(one) for one in answers], config)
    if isinstance(config, ReinforcePlusPlusAdvantage) and config.whitening is Whitening.none:
        return [_masked(one, _to_go(one)) for one in answers]
    values = _of_answers(answers, config)
    if config.whitening is Whitening.rollouts:
        values = _whitened(values, config.whitening_epsilon)
    spread = [[value] * len(one.active) for one, value in zip(answers, values, strict=True)]
    if config.whitening is Whitening.tokens:
        return _whitened_tokens(answers, spread, config)
    return [_masked(one, of) for one, of in zip(answers, spread, strict=True)]


def _kl(kl: ReferenceKLConfig, log_r: float) -> float:
    match kl:
        case K1():
            return -log_r
        case K2():
            return log_r**2 / 2
        case K3():
            return math.exp(log_r) - 1 - log_r
        case _:
            raise TypeError(f"no formula for {type(kl).__name__}")


def _of_answers(answers: Sequence[Answer], config: AdvantageConfig) -> list[float]:
    """One number each."""
    rewards = [one.reward - sum(one.penalties) for one in answers]
    if isinstance(config, ConstantAdvantage):
        return [config.value for _ in answers]
    if isinstance(config, ReinforcePlusPlusAdvantage):
        return rewards
    values = []
    for one, reward in zip(answers, rewards, strict=True):
        group = [r for other, r in zip(answers, rewards, strict=True) if other.group == one.group]
        values.append(_within(group, reward, config))
    return values


def _within(group: Sequence[float], reward: float, config: AdvantageConfig) -> float:
    if all(other == group[0] for other in group):
        return 0.0
    size, mean = len(group), sum(group) / len(group)
    match config:
        case DrGrpoAdvantage() | ReinforcePlusPlusBaselineAdvantage():
            return reward - mean
        case RlooAdvantage():
            return reward - (sum(group) - reward) / (size - 1)
        case GrpoAdvantage():
            variance = sum((other - mean) ** 2 for other in group) / (size - 1)
            return (reward - mean) / (math.sqrt(variance) + config.epsilon)
        case _:
            raise TypeError(f"no formula for {type(config).__name__}")


def _to_go(one: Answer) -> list[float]:
    """At each token the reward without the penalties of that token and of those after it."""
    found, left = [], one.reward
    for penalty in reversed(one.penalties):
        left -= penalty
        found.append(left)
    return found[::-1]


def _whitened_tokens(
    answers: Sequence[Answer], values: Sequence[Sequence[float]], config: AdvantageConfig
) -> list[tuple[float, ...]]:
    """Over the active tokens of all answers."""
    active = [
        value
        for one, of in zip(answers, values, strict=True)
        for value, is_active in zip(of, one.active, strict=True)
        if is_active
    ]
    rest = iter(_whitened(active, config.whitening_epsilon))
    return [tuple(next(rest) if a else 0.0 for a in one.active) for one in answers]


def _whitened(values: Sequence[float], epsilon: float) -> list[float]:
    if all(value == values[0] for value in values):
        return [0.0 for _ in values]
    mean = math.fsum(values) / len(values)
    if abs(mean) < ROUNDING * math.fsum(map(abs, values)) / len(values):
        mean = 0.0
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / (deviation + epsilon) for value in values]


def _masked(one: Answer, values: Sequence[float]) -> tuple[float, ...]:
    return tuple(v if active else 0.0 for v, active in zip(values, one.active, strict=True))

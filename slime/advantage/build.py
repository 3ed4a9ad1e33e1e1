"""From an advantage node to its estimator.  The node is read once, here."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import torch

from slime.advantage.advantages import (
    NO_PENALTIES,
    Advantages,
    PerToken,
    on_every_token,
    rollouts_of,
)
from slime.advantage.estimators import dr_grpo, grpo, returns_to_go, rloo
from slime.advantage.whitening import over_rollouts, over_tokens
from slime.config.schema import (
    AdvantageConfig,
    ConfigError,
    ConstantAdvantage,
    DrGrpoAdvantage,
    GrpoAdvantage,
    ReinforcePlusPlusAdvantage,
    ReinforcePlusPlusBaselineAdvantage,
    RlooAdvantage,
    Whitening,
    check,
)
from slime.data import Group, Rollout

_OfRewards: TypeAlias = Callable[[Sequence[float]], list[float]]
_OfRollouts: TypeAlias = Callable[[Sequence[Group], PerToken], dict[int, float]]
_OfTokens: TypeAlias = Callable[[Sequence[Group], PerToken], PerToken]


@dataclass(frozen=True, slots=True)
class AdvantageEstimator:
    """From the groups of a whole step to the advantages of all its tokens."""

    of_tokens: _OfTokens

    def __call__(self, groups: Sequence[Group], penalties: PerToken = NO_PENALTIES) -> Advantages:
        """A rollout's reward is reward + shaping - penalties; the active tokens are those of the
        loss masks of the groups' samples.

        penalties: none, or those of every rollout.  reinforce_plus_plus takes off at each token
        those that are still to come, the others all of a rollout's at once.

        Raises ValueError for a rollout without a finite reward (advantage=constant reads none) and
        for a rollout id that occurs twice.
        """
        return Advantages(MappingProxyType(dict(self.of_tokens(groups, penalties))))


def build_advantage(config: AdvantageConfig) -> AdvantageEstimator:
    """The estimator that an advantage node describes.

    Raises ConfigError when the node is not legal.
    """
    check(config)
    epsilon = config.whitening_epsilon
    match config.whitening:
        case Whitening.none:
            return AdvantageEstimator(_of_tokens(config))
        case Whitening.tokens:
            return AdvantageEstimator(partial(_whitened_tokens, _of_tokens(config), epsilon))
        case Whitening.rollouts:
            return AdvantageEstimator(partial(_whitened_rollouts, _of_rollouts(config), epsilon))


def _of_tokens(config: AdvantageConfig) -> _OfTokens:
    match config:
        case ReinforcePlusPlusAdvantage():
            return _returns_to_go
        case _:
            return partial(_spread, _of_rollouts(config))


def _of_rollouts(config: AdvantageConfig) -> _OfRollouts:
    match config:
        case GrpoAdvantage():
            return partial(_within_groups, partial(grpo, epsilon=config.epsilon))
        case DrGrpoAdvantage() | ReinforcePlusPlusBaselineAdvantage():
            return partial(_within_groups, dr_grpo)
        case RlooAdvantage():
            return partial(_within_groups, rloo)
        case ReinforcePlusPlusAdvantage():
            return _whole_rewards
        case ConstantAdvantage():
            return partial(_constant, config.value)
        case _:
            raise ConfigError(f"advantage: there is no estimator for a {type(config).__name__}")


def _spread(of_rollouts: _OfRollouts, groups: Sequence[Group], penalties: PerToken) -> PerToken:
    return on_every_token(groups, of_rollouts(groups, penalties))


def _whitened_rollouts(
    of_rollouts: _OfRollouts, epsilon: float, groups: Sequence[Group], penalties: PerToken
) -> PerToken:
    return on_every_token(groups, over_rollouts(of_rollouts(groups, penalties), epsilon))


def _whitened_tokens(
    of_tokens: _OfTokens, epsilon: float, groups: Sequence[Group], penalties: PerToken
) -> PerToken:
    return over_tokens(groups, of_tokens(groups, penalties), epsilon)


def _within_groups(
    estimate: _OfRewards, groups: Sequence[Group], penalties: PerToken
) -> dict[int, float]:
    found: dict[int, float] = {}
    for group in groups:
        rewards = [_reward(rollout) - _sum(penalties, rollout) for rollout in group.rollouts]
        ids = [rollout.id for rollout in group.rollouts]
        found |= zip(ids, estimate(rewards), strict=True)
    return found


def _whole_rewards(groups: Sequence[Group], penalties: PerToken) -> dict[int, float]:
    """Of REINFORCE++ where all tokens of a rollout have one advantage."""
    if penalties:
        raise ValueError("advantage.whitening=rollouts needs one number for each rollout")
    return {rollout.id: _reward(rollout) for rollout in rollouts_of(groups)}


def _constant(value: float, groups: Sequence[Group], _penalties: PerToken) -> dict[int, float]:
    return {rollout.id: value for rollout in rollouts_of(groups)}


def _returns_to_go(groups: Sequence[Group], penalties: PerToken) -> PerToken:
    return {
        rollout.id: tuple(
            torch.where(sample.loss_mask_R, values_R, 0.0)
            for sample, values_R in zip(
                rollout.samples,
                returns_to_go(_reward(rollout), _penalties(penalties, rollout)),
                strict=True,
            )
        )
        for rollout in rollouts_of(groups)
    }


def _reward(rollout: Rollout) -> float:
    if rollout.reward is None:
        raise ValueError(f"rollout {rollout.id} has no reward: score it first")
    reward = rollout.reward + rollout.shaping
    if not math.isfinite(reward):
        raise ValueError(f"rollout {rollout.id} has a reward of {reward}")
    return reward


def _sum(penalties: PerToken, rollout: Rollout) -> float:
    if not penalties:
        return 0.0
    return math.fsum(penalties_R.sum().item() for penalties_R in penalties[rollout.id])


def _penalties(penalties: PerToken, rollout: Rollout) -> tuple[torch.Tensor, ...]:
    if not penalties:
        return tuple(
            torch.zeros(len(sample.response_tokens_R), dtype=torch.float64)
            for sample in rollout.samples
        )
    return penalties[rollout.id]

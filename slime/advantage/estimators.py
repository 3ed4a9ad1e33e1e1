"""From the rewards of a group's rollouts to one advantage per rollout.

A rollout counts once, however many samples it consists of: the baseline and the loss count the
same units.  All arithmetic is in float64.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from slime.config.schema import AdvantageConfig, ConfigError, DrGrpoAdvantage, GrpoAdvantage, check
from slime.data import Group, Rollout

Estimator = Callable[[Sequence[float]], list[float]]


@dataclass(frozen=True, slots=True)
class Advantages:
    """The advantage of every rollout of an iteration; all its samples' tokens share it."""

    of_rollout: Mapping[int, float]

    def __getitem__(self, rollout_id: int) -> float:
        """Raises KeyError for a rollout that was in none of the groups."""
        return self.of_rollout[rollout_id]


def grpo(rewards: Sequence[float], *, epsilon: float) -> list[float]:
    """(r - mean) / (std + epsilon), within one group.

    Source: arXiv:2402.03300 section 4.1.2, which leaves the kind of standard deviation open.  This
    is the sample one (divided by G - 1), as in TRL and verl.  Where it is zero or undefined (equal
    rewards, a group of one) every advantage is exactly 0.
    """
    if len(set(rewards)) <= 1:
        return [0.0] * len(rewards)
    centred = dr_grpo(rewards)
    deviation = math.sqrt(math.fsum(c * c for c in centred) / (len(rewards) - 1))
    return [c / (deviation + epsilon) for c in centred]


def dr_grpo(rewards: Sequence[float]) -> list[float]:
    """r - mean, within one group.  Source: arXiv:2503.20783 section 3.2.

    Equal rewards, and a group of one, give exactly 0.
    """
    if len(set(rewards)) <= 1:  # the mean of three times 0.1 is not 0.1
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def build_advantage(config: AdvantageConfig) -> Callable[[Sequence[Group]], Advantages]:
    """The estimator that an advantage node describes: groups -> Advantages.

    Raises ConfigError when the node is not legal.  The estimator raises ValueError for a rollout
    without a finite reward and for a rollout id that occurs twice.
    """
    check(config)
    match config:
        case GrpoAdvantage():
            return partial(_of_groups, partial(grpo, epsilon=config.epsilon))
        case DrGrpoAdvantage():
            return partial(_of_groups, dr_grpo)
        case _:
            raise ConfigError(
                f"advantage must be a GrpoAdvantage or DrGrpoAdvantage, "
                f"got a {type(config).__name__}"
            )


def _of_groups(estimate: Estimator, groups: Sequence[Group]) -> Advantages:
    of_rollout: dict[int, float] = {}
    for group in groups:
        rewards = [_reward(rollout) for rollout in group.rollouts]
        for rollout, advantage in zip(group.rollouts, estimate(rewards), strict=True):
            if rollout.id in of_rollout:
                raise ValueError(f"rollout {rollout.id} occurs twice")
            of_rollout[rollout.id] = advantage
    return Advantages(MappingProxyType(of_rollout))


def _reward(rollout: Rollout) -> float:
    if rollout.reward is None:
        raise ValueError(f"rollout {rollout.id} has no reward: score it first")
    if not math.isfinite(rollout.reward):
        raise ValueError(f"rollout {rollout.id} has a reward of {rollout.reward}")
    return rollout.reward

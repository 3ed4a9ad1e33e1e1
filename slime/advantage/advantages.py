"""What an estimator is given beside rewards, and what it gives: numbers on tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from slime.data import Group, Rollout

# By rollout id, for each of the rollout's samples: [R] float64, 0 where the loss mask is.
PerToken: TypeAlias = Mapping[int, tuple[Tensor, ...]]

NO_PENALTIES: PerToken = MappingProxyType({})  # the reward is what the rollout was scored with


@dataclass(frozen=True, slots=True, eq=False)
class Advantages:
    """The advantage of every response token of a step; 0 where the loss mask is.

    Most estimators give all active tokens of a rollout, over all of its samples, the same number.
    """

    of_rollout: PerToken

    def __getitem__(self, rollout_id: int) -> tuple[Tensor, ...]:
        """[R] float64 for each of the rollout's samples, in order.

        Raises KeyError for a rollout that was in none of the groups.
        """
        return self.of_rollout[rollout_id]


def on_every_token(groups: Sequence[Group], of_rollout: Mapping[int, float]) -> PerToken:
    """A rollout's number on all of its active tokens."""
    found: dict[int, tuple[Tensor, ...]] = {}
    for rollout in rollouts_of(groups):
        value = torch.tensor(of_rollout[rollout.id], dtype=torch.float64)
        found[rollout.id] = tuple(torch.where(s.loss_mask_R, value, 0.0) for s in rollout.samples)
    return found


def rollouts_of(groups: Sequence[Group]) -> list[Rollout]:
    """Raises ValueError for a rollout id that occurs twice."""
    found: dict[int, Rollout] = {}
    for rollout in (rollout for group in groups for rollout in group.rollouts):
        if rollout.id in found:
            raise ValueError(f"rollout {rollout.id} occurs twice")
        found[rollout.id] = rollout
    return list(found.values())

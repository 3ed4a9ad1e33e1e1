"""Effective weights: which rollouts and prompts a mode lets pull at the model, and how hard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slime.check.modes import ModeWeights
from slime.check.plan_by_hand import Item

DECILE = 0.1


@dataclass(frozen=True, slots=True)
class Pull:
    """A rollout, or a prompt, under one mode."""

    active_tokens: int
    weight: float  # the sum of the weights of its active tokens
    pull: float  # the same times |advantage|: what it can add to the gradient


@dataclass(frozen=True, slots=True)
class ModeShares:
    """One mode's weights in a step.  The shares are parts of its total pull.

    Rollouts and prompts without any pull (no active token, advantage 0) are not among them.
    """

    name: str
    shortest_decile: float
    longest_decile: float
    smallest_prompt: float
    largest_prompt: float
    total_pull: float


def shares(step: Sequence[Item], mode: ModeWeights) -> ModeShares:
    """Where several are as short (long, small, large) as each other, their mean stands for them."""
    rollouts = _with_pull(rollout_pulls(step, mode))
    prompts = _with_pull(_pulls(step, mode, lambda item: item.prompt))
    total = sum(p.pull for p in rollouts)
    decile = DECILE * len(rollouts)

    def share(pulls: Sequence[Pull], count: float, order: Callable[[Pull], int]) -> float:
        return _first(pulls, count, order) / total if total else 0.0

    return ModeShares(
        name=mode.name,
        shortest_decile=share(rollouts, decile, lambda p: p.active_tokens),
        longest_decile=share(rollouts, decile, lambda p: -p.active_tokens),
        smallest_prompt=share(prompts, 1, lambda p: p.active_tokens),
        largest_prompt=share(prompts, 1, lambda p: -p.active_tokens),
        total_pull=total,
    )


def rollout_pulls(step: Sequence[Item], mode: ModeWeights) -> tuple[Pull, ...]:
    """Of every rollout with an active token."""
    return _pulls(step, mode, lambda item: item.rollout)


def _pulls(
    step: Sequence[Item], mode: ModeWeights, unit: Callable[[Item], int]
) -> tuple[Pull, ...]:
    of_unit: dict[int, Pull] = {}
    for item, weight in zip(step, mode.weights, strict=True):
        before = of_unit.get(unit(item), Pull(0, 0.0, 0.0))
        of_unit[unit(item)] = Pull(
            before.active_tokens + item.active,
            before.weight + weight.policy * item.active,
            before.pull + weight.policy * sum(map(abs, item.advantages)),
        )
    return tuple(pull for pull in of_unit.values() if pull.active_tokens)


def _with_pull(pulls: Sequence[Pull]) -> list[Pull]:
    return [pull for pull in pulls if pull.pull]


def _first(pulls: Sequence[Pull], count: float, order: Callable[[Pull], int]) -> float:
    """The pull of the first `count` (any number > 0) in this order; equal ones share alike."""
    taken = 0.0
    for place in sorted({order(pull) for pull in pulls}):
        tied = [pull.pull for pull in pulls if order(pull) == place]
        part = min(count, len(tied))
        taken += sum(tied) * part / len(tied)
        count -= part
    return taken

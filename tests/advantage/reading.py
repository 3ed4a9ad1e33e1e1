"""Advantages as plain lists."""

from advantage.formulas import Step

from slime.advantage import Advantages


def tokens_of(advantages: Advantages, step: Step) -> list[list[float]]:
    """All tokens of each rollout, over its samples; rollouts in order."""
    return [
        [value for of_sample in advantages[10 * g + i] for value in of_sample.tolist()]
        for g, group in enumerate(step)
        for i in range(len(group))
    ]


def each(values: list[float], step: Step) -> list[list[float]]:
    """A rollout's value on all of its active tokens, 0 on the others."""
    rollouts = [told for group in step for told in group]
    return [
        [value if token.active else 0.0 for token in told.tokens]
        for told, value in zip(rollouts, values, strict=True)
    ]


def flat(values: list[list[float]]) -> list[float]:
    return [value for of_rollout in values for value in of_rollout]

"""The rollout.filter node: which of the generated groups are trained on."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import Node, at_least, key


@dataclass(slots=True, kw_only=True)
class FilterConfig(Node):
    """Every group is trained on."""

    name: str = "none"


@dataclass(slots=True, kw_only=True)
class ZeroVarianceFilter(FilterConfig):
    """Groups whose rewards are all equal are left out; N and P count what remains (ScaleRL)."""

    name: str = "zero_variance"


@dataclass(slots=True, kw_only=True)
class DynamicFilter(FilterConfig):
    """They are left out, and more prompts are drawn until the iteration is full (DAPO)."""

    name: str = "dynamic"
    prompts_per_round: int | None = key(
        "prompts drawn at a time (null: rollout.prompts_per_iteration)",
        None,
        unit="prompts",
        since="0.2",
    )
    max_rounds: int = key(
        "draws of an iteration at most; what is missing then is filled up with groups whose "
        "rewards are all equal",
        10,
        unit="rounds",
        since="0.2",
    )

    def problems(self) -> Iterator[str]:
        if self.prompts_per_round is not None:
            yield from at_least("rollout.filter.prompts_per_round", self.prompts_per_round, 1)
        yield from at_least("rollout.filter.max_rounds", self.max_rounds, 1)

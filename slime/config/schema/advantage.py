"""The advantage node: how a group's rewards become advantages."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import MISSING, Node, key, positive


@dataclass(slots=True, kw_only=True)
class AdvantageConfig(Node):
    """How a group's rewards become advantages."""

    name: str = MISSING


@dataclass(slots=True, kw_only=True)
class GrpoAdvantage(AdvantageConfig):
    """(reward - mean of the group) / (standard deviation of the group + epsilon)."""

    name: str = "grpo"
    epsilon: float = key("added to the standard deviation", 1e-6)

    def problems(self) -> Iterator[str]:
        yield from positive("advantage.epsilon", self.epsilon)


@dataclass(slots=True, kw_only=True)
class DrGrpoAdvantage(AdvantageConfig):
    """reward - mean of the group."""

    name: str = "dr_grpo"

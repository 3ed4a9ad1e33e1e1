"""The advantage node: how rewards become advantages."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from slime.config.schema.base import MISSING, Node, key, positive, positive_float32


class Whitening(Enum):
    """Over what a whole optimizer step's advantages get mean 0 and standard deviation 1."""

    none = "none"
    rollouts = "rollouts"
    tokens = "tokens"


_WHITENING = (
    "what gets mean 0 and standard deviation 1 over the whole optimizer step: none | rollouts (one "
    "number for each) | tokens (every active token counts the same)"
)


@dataclass(slots=True, kw_only=True)
class AdvantageConfig(Node):
    """How rewards become advantages."""

    name: str = MISSING
    whitening: Whitening = key(_WHITENING, Whitening.none, neutral=Whitening.none, since="0.2")
    whitening_epsilon: float = key(
        "added to the standard deviation that advantage.whitening divides by",
        1e-6,
        neutral=1e-6,
        since="0.2",
    )

    def idle(self) -> frozenset[str]:
        return frozenset({"whitening_epsilon"} if self.whitening is Whitening.none else ())

    def problems(self) -> Iterator[str]:
        yield from positive("advantage.whitening_epsilon", self.whitening_epsilon)


@dataclass(slots=True, kw_only=True)
class GrpoAdvantage(AdvantageConfig):
    """(reward - mean of the group) / (standard deviation of the group + epsilon)."""

    name: str = "grpo"
    epsilon: float = key("added to the standard deviation", 1e-6)

    def problems(self) -> Iterator[str]:
        yield from AdvantageConfig.problems(self)  # zero-argument super() breaks under slots=True
        yield from positive("advantage.epsilon", self.epsilon)


@dataclass(slots=True, kw_only=True)
class DrGrpoAdvantage(AdvantageConfig):
    """reward - mean of the group."""

    name: str = "dr_grpo"


@dataclass(slots=True, kw_only=True)
class RlooAdvantage(AdvantageConfig):
    """reward - mean of the others of the group (leave one out)."""

    name: str = "rloo"


@dataclass(slots=True, kw_only=True)
class ReinforcePlusPlusAdvantage(AdvantageConfig):
    """The reward itself, whitened over the step's tokens (REINFORCE++); needs no group."""

    name: str = "reinforce_plus_plus"
    whitening: Whitening = key(_WHITENING, Whitening.tokens, since="0.2")


@dataclass(slots=True, kw_only=True)
class ReinforcePlusPlusBaselineAdvantage(AdvantageConfig):
    """reward - mean of the group, whitened over the step's tokens (REINFORCE++ with baseline)."""

    name: str = "reinforce_plus_plus_baseline"
    whitening: Whitening = key(_WHITENING, Whitening.tokens, since="0.2")


@dataclass(slots=True, kw_only=True)
class ConstantAdvantage(AdvantageConfig):
    """The same for every rollout, whatever its reward: maximum likelihood (SFT)."""

    name: str = "constant"
    value: float = key("the advantage of every rollout", 1.0, since="0.2")

    def problems(self) -> Iterator[str]:
        yield from AdvantageConfig.problems(self)
        yield from positive_float32("advantage.value", self.value)
        if self.whitening is not Whitening.none:
            yield (
                f"advantage.whitening={self.whitening.name} takes the mean away, and of "
                f"advantage=constant nothing is left: write advantage.whitening=none"
            )


def needs_groups(config: AdvantageConfig) -> bool:
    """Whether a rollout is compared with the others of its group: alone in it, it gets 0."""
    return not isinstance(config, ReinforcePlusPlusAdvantage | ConstantAdvantage)

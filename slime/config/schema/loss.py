"""The loss node: a class per loss/aggregation choice; its KL sub-node; the advantages."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from slime.config.schema.base import MISSING, Node, key, not_negative, positive


class EmptyUnits(Enum):
    """Whether rollouts and prompts without an active token count in N and P."""

    count = "count"
    drop = "drop"


@dataclass(slots=True, kw_only=True)
class KLConfig(Node):
    """No KL term."""

    name: str = "none"


@dataclass(slots=True, kw_only=True)
class ReferenceKLConfig(KLConfig):
    """A KL penalty to the frozen starting model."""

    coefficient: float = key("weight of the KL term in the loss", 0.001)

    def problems(self) -> Iterator[str]:
        yield from not_negative("loss.kl.coefficient", self.coefficient)


@dataclass(slots=True, kw_only=True)
class K1(ReferenceKLConfig):
    """-log r, with r = reference / current: unbiased, high variance."""

    name: str = "k1"


@dataclass(slots=True, kw_only=True)
class K2(ReferenceKLConfig):
    """(log r)^2 / 2: biased, low variance, right gradient."""

    name: str = "k2"


@dataclass(slots=True, kw_only=True)
class K3(ReferenceKLConfig):
    """r - 1 - log r: unbiased, low variance, never negative."""

    name: str = "k3"


@dataclass(slots=True, kw_only=True)
class LossConfig(Node):
    """What every aggregation mode shares."""

    aggregation: str = key("written by the loss/aggregation group, never by hand")
    clip_low: float = key("PPO clip: the ratio's lower bound is 1 - clip_low", 0.2)
    clip_high: float = key("PPO clip: the ratio's upper bound is 1 + clip_high", 0.2)
    entropy_coefficient: float = key("weight of the entropy bonus (0: none)", 0.0)
    empty_units: EmptyUnits = key(
        "whether rollouts and prompts without an active token count in N and P: count | drop",
        EmptyUnits.count,
    )
    skip_idle_samples: bool = key(
        "leave samples without any gradient (zero advantage, no KL, no entropy bonus) out of the "
        "forward pass; their weights still count",
        True,
        trains=False,
    )
    kl: KLConfig = field(default_factory=KLConfig)

    def problems(self) -> Iterator[str]:
        if not 0 < self.clip_low < 1:
            yield f"loss.clip_low must be in (0, 1), got {self.clip_low}"
        yield from positive("loss.clip_high", self.clip_high)
        yield from not_negative("loss.entropy_coefficient", self.entropy_coefficient)


@dataclass(slots=True, kw_only=True)
class SampleMeanLoss(LossConfig):
    """1 / (N * M_rollout): every rollout counts the same (GRPO)."""

    aggregation: str = "sample_mean"


@dataclass(slots=True, kw_only=True)
class PromptMeanLoss(LossConfig):
    """1 / (P * M_prompt): every prompt counts the same (DAPO paper, ScaleRL)."""

    aggregation: str = "prompt_mean"


@dataclass(slots=True, kw_only=True)
class TokenMeanLoss(LossConfig):
    """1 / M_step: every token counts the same, per step (DAPO code)."""

    aggregation: str = "token_mean"


@dataclass(slots=True, kw_only=True)
class ConstantLoss(LossConfig):
    """1 / (N * divisor): every token counts the same, whatever the lengths (Dr.GRPO)."""

    aggregation: str = "constant"
    divisor: float = key("the constant L; it sets the scale of the loss, so it has no default")

    def problems(self) -> Iterator[str]:
        yield from LossConfig.problems(self)  # zero-argument super() breaks under slots=True
        yield from positive("loss.divisor", self.divisor)


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

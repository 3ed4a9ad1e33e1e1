"""Sub-nodes of the loss: the objective, the KL penalty, the correction of the rollout engine."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import Node, key, not_negative, positive_float32


@dataclass(slots=True, kw_only=True)
class PPO(Node):
    """-min(ratio * A, clip(ratio) * A) with the ratio of each token (PPO, GRPO, DAPO)."""

    name: str = "ppo"
    clip_low: float = key("the ratio's lower bound is 1 - clip_low", 0.2)
    clip_high: float = key("the ratio's upper bound is 1 + clip_high", 0.2)

    def problems(self) -> Iterator[str]:
        if not 0 < self.clip_low < 1:
            yield f"loss.objective.clip_low must be in (0, 1), got {self.clip_low}"
        yield from positive_float32("loss.objective.clip_high", self.clip_high)


@dataclass(slots=True, kw_only=True)
class GSPO(PPO):  # a subclass, because OmegaConf lets no other class take the place of the default
    """The same with one ratio for the whole sequence, the geometric mean of its tokens' (GSPO)."""

    name: str = "gspo"
    clip_low: float = key("the sequence ratio's lower bound is 1 - clip_low", 3e-4)
    clip_high: float = key("the sequence ratio's upper bound is 1 + clip_high", 4e-4)


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
class CorrectionConfig(Node):
    """No correction: the rollout engine's log-probs are taken for the trainer's."""

    name: str = "none"


@dataclass(slots=True, kw_only=True)
class TIS(CorrectionConfig):
    """Truncated importance sampling: min(old / rollout, cap) times each policy-gradient term."""

    name: str = "tis"
    cap: float = key("largest importance ratio of the trainer over the rollout engine", 2.0)

    def problems(self) -> Iterator[str]:
        yield from positive_float32("loss.correction.cap", self.cap)


@dataclass(slots=True, kw_only=True)
class IcePop(CorrectionConfig):
    """old / rollout where it is within [low, high], else the token's term is 0 (IcePop)."""

    name: str = "icepop"
    low: float = key("smallest ratio of the trainer over the rollout engine that is kept", 0.5)
    high: float = key("largest ratio of the trainer over the rollout engine that is kept", 5.0)

    def problems(self) -> Iterator[str]:
        yield from not_negative("loss.correction.low", self.low)
        yield from positive_float32("loss.correction.high", self.high)
        if self.low >= self.high:
            yield (f"loss.correction.low={self.low} must be below loss.correction.high={self.high}")

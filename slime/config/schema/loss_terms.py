"""Sub-nodes of the loss: the KL penalty and the correction of the rollout engine."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeGuard

from slime.config.schema.base import Node, key, not_negative, positive_float32


class KLPlace(Enum):
    """Where the KL penalty is paid."""

    loss = "loss"
    reward = "reward"


@dataclass(slots=True, kw_only=True)
class KLConfig(Node):
    """No KL term."""

    name: str = "none"


@dataclass(slots=True, kw_only=True)
class ReferenceKLConfig(KLConfig):
    """A KL penalty to the frozen starting model."""

    coefficient: float = key("weight of the KL", 0.001)
    place: KLPlace = key(
        "where the KL is paid: loss (a term of it, of the current policy) | reward (taken off the "
        "reward, token by token, of the policy before the iteration's first step)",
        KLPlace.loss,
        neutral=KLPlace.loss,
        since="0.2",
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative("loss.kl.coefficient", self.coefficient)

    def warnings(self) -> Iterator[str]:
        if self.coefficient == 0:
            yield (
                f"loss.kl.coefficient=0 leaves no KL, and loss/kl={self.name} still runs the "
                f"starting model on every sample: write loss/kl=none"
            )


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


def kl_in_reward(config: KLConfig) -> TypeGuard[ReferenceKLConfig]:
    """Whether the KL is taken off the reward: advantages then wait for the log-probs."""
    return isinstance(config, ReferenceKLConfig) and config.place is KLPlace.reward


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

"""The objective of the loss: a class per loss/objective choice, each with exactly its own keys."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import Node, between, key, positive_float32


@dataclass(slots=True, kw_only=True)
class ObjectiveConfig(Node):
    """The policy-gradient term of one token."""

    name: str = key("written by the loss/objective group, never by hand")


@dataclass(slots=True, kw_only=True)
class PPO(ObjectiveConfig):
    """-min(ratio * A, clip(ratio) * A) with the ratio of each token (PPO, GRPO, DAPO)."""

    name: str = "ppo"
    clip_low: float = key("the ratio's lower bound is 1 - clip_low", 0.2)
    clip_high: float = key("the ratio's upper bound is 1 + clip_high", 0.2)
    dual_clip: float | None = key(
        "the ratio's upper bound where the advantage is negative, above 1; null: none "
        "(dual-clip PPO)",
        None,
        neutral=None,
        since="0.2",
    )

    def problems(self) -> Iterator[str]:
        yield from _clip_range(self.clip_low, self.clip_high)
        if self.dual_clip is not None:
            found = list(positive_float32("loss.objective.dual_clip", self.dual_clip))
            yield from found
            if not found and self.dual_clip <= 1:
                yield f"loss.objective.dual_clip must be above 1, or null, got {self.dual_clip}"


@dataclass(slots=True, kw_only=True)
class GSPO(ObjectiveConfig):
    """The same with one ratio for the whole sequence, the geometric mean of its tokens' (GSPO)."""

    name: str = "gspo"
    clip_low: float = key("the sequence ratio's lower bound is 1 - clip_low", 3e-4)
    clip_high: float = key("the sequence ratio's upper bound is 1 + clip_high", 4e-4)

    def problems(self) -> Iterator[str]:
        yield from _clip_range(self.clip_low, self.clip_high)


@dataclass(slots=True, kw_only=True)
class CISPO(ObjectiveConfig):
    """-clip(ratio) * A * log-prob, the clipped ratio a constant: every token pulls (CISPO)."""

    name: str = "cispo"
    clip_low: float = key(
        "the ratio's lower bound is 1 - clip_low; 1: none (MiniMax-M1)", 1.0, since="0.2"
    )
    clip_high: float = key(
        "the ratio's upper bound is 1 + clip_high (the default, 5, is ScaleRL's)", 4.0, since="0.2"
    )

    def problems(self) -> Iterator[str]:
        yield from between("loss.objective.clip_low", self.clip_low, 0, 1)
        yield from positive_float32("loss.objective.clip_high", self.clip_high)


@dataclass(slots=True, kw_only=True)
class Reinforce(ObjectiveConfig):
    """-ratio * A, never clipped: on policy the plain policy gradient (REINFORCE)."""

    name: str = "reinforce"


@dataclass(slots=True, kw_only=True)
class SFT(ObjectiveConfig):
    """-log-prob: every token is to be imitated, whatever its reward (supervised fine-tuning)."""

    name: str = "sft"


def _clip_range(low: float, high: float) -> Iterator[str]:
    if not 0 < low < 1:
        yield f"loss.objective.clip_low must be in (0, 1), got {low}"
    yield from positive_float32("loss.objective.clip_high", high)

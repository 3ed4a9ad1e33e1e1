"""The reward.overlong node: what a response loses for being nearly as long as it may be."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import Node, between, key, not_negative


@dataclass(slots=True, kw_only=True)
class OverlongConfig(Node):
    """Long responses lose nothing."""

    name: str = "none"


@dataclass(slots=True, kw_only=True)
class SoftOverlong(OverlongConfig):
    """The last part of the token budget costs more and more, up to factor (DAPO eq. 13)."""

    name: str = "soft"
    buffer_fraction: float = key(
        "L_cache, as a share of rollout.max_response_tokens: the penalty begins so far before it "
        "(the default is DAPO's 4096 of 20480)",
        0.2,
        since="0.2",
    )
    factor: float = key(
        "what a response of rollout.max_response_tokens loses (0: nothing)", 1.0, since="0.2"
    )

    def problems(self) -> Iterator[str]:
        yield from between("reward.overlong.buffer_fraction", self.buffer_fraction, 0, 1)
        yield from not_negative("reward.overlong.factor", self.factor)

"""What a rollout loses for its length: DAPO's soft overlong punishment (arXiv:2503.14476 eq. 13).

It is kept beside the reward, in `Rollout.shaping`: advantages see the sum, metrics, filters and
evaluations the task's own reward.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from slime.config.schema import OverlongConfig, SoftOverlong

if TYPE_CHECKING:  # torch; the scoring process imports this package and must start fast
    from slime.data import Rollout

Shaping = Callable[["Rollout"], float]


def nothing(_: "Rollout") -> float:
    """Long responses lose nothing."""
    return 0.0


def soft_overlong(
    rollout: "Rollout", buffer_tokens: float, factor: float, max_response_tokens: int
) -> float:
    """0 up to L_max - L_cache response tokens |y|, then ever less, -factor from L_max on.

    factor * ((L_max - L_cache) - |y|) / L_cache between the two, with L_max = max_response_tokens
    and L_cache = buffer_tokens, which need not be whole.  |y| counts the tokens of all samples,
    end and stop tokens too.
    """
    length = sum(len(sample.response_tokens_R) for sample in rollout.samples)
    over = length - (max_response_tokens - buffer_tokens)
    return -factor * min(max(over, 0), buffer_tokens) / buffer_tokens


def build_shaping(config: OverlongConfig, max_response_tokens: int) -> Shaping:
    """What to add to the reward of a rollout where advantages are computed."""
    match config:
        case SoftOverlong(buffer_fraction=fraction, factor=factor):
            return partial(
                soft_overlong,
                buffer_tokens=fraction * max_response_tokens,
                factor=factor,
                max_response_tokens=max_response_tokens,
            )
        case OverlongConfig():
            return nothing
    raise TypeError(f"no shaping for {type(config).__name__}")

"""What a user should know before switching modes or trusting an optimizer setting."""

import math
from collections.abc import Iterator, Mapping, Sequence

from slime.config.schema import AdamConfig, OptimizerConfig

EPS_MARGIN = 100
SMALLEST_EPS = 1e-22  # below it squares of gradients underflow

NOTHING_PULLS = (
    "this step has no gradient: its weights are 0, or rewards are equal within every group, so "
    "there is nothing to compare but zeros; look at another iteration (check.iteration)"
)


def warnings(
    gradient_norms: Mapping[str, float], parameters: int, optimizer: OptimizerConfig
) -> Iterator[str]:
    """A line for each.  gradient_norms: by mode, the configured one first; parameters: how many."""
    norm = next(iter(gradient_norms.values()))
    if norm == 0:
        yield NOTHING_PULLS
    elif isinstance(optimizer, AdamConfig):
        yield from _near_eps(norm, parameters, optimizer)
        yield from _clips_differently(gradient_norms, optimizer.clip_grad)


def _near_eps(norm: float, parameters: int, adam: AdamConfig) -> Iterator[str]:
    """Adam divides by root mean square + eps: near eps the scale of the loss matters after all."""
    clipped = min(norm, adam.clip_grad) if adam.clip_grad > 0 else norm
    root_mean_square = clipped / math.sqrt(parameters)
    if root_mean_square < EPS_MARGIN * adam.eps:
        yield (
            f"the gradient's root mean square, {root_mean_square:.2g}, is within {EPS_MARGIN}x of "
            f"optimizer.eps={adam.eps:g}: updates shrink with the scale of the loss; "
            f"{_remedy(root_mean_square / EPS_MARGIN / 10)}"
        )


def _remedy(eps: float) -> str:
    if eps < SMALLEST_EPS:
        return "no eps is small enough in float32: scale the loss up (loss.divisor, loss.function)"
    return f"write optimizer.eps={eps:.0e} or less"


def _clips_differently(gradient_norms: Mapping[str, float], clip: float) -> Iterator[str]:
    if clip <= 0:
        return
    bound = [name for name, norm in gradient_norms.items() if norm > clip]
    free = [name for name, norm in gradient_norms.items() if norm <= clip]
    if bound and free:
        yield (
            f"optimizer.clip_grad={clip:g} would clip this step under {_listed(bound)} and not "
            f"under {_listed(free)}: these modes differ in more than their weights"
        )


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names)

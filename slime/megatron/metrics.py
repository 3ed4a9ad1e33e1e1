"""From the sums of a whole step to what is reported."""

import math

from torch import Tensor

from slime.data.metrics import StepMetrics
from slime.loss import MetricSums


def step_metrics(
    totals: MetricSums, grad_norm: float, learning_rate: float, *, skipped: bool
) -> StepMetrics:
    """totals: over all micro-batches of all ranks."""
    active_tokens = int(totals.active_tokens)

    def mean(total: Tensor) -> float | None:
        return _finite(total.item() / active_tokens) if active_tokens else 0.0

    return StepMetrics(
        loss=_finite(totals.loss.item()),
        pg_loss=_finite(totals.pg_loss.item()),
        kl_loss=_finite(totals.kl_loss.item()),
        entropy_loss=_finite(totals.entropy_loss.item()),
        entropy=mean(totals.entropy),
        kl=mean(totals.kl),
        ratio=mean(totals.ratio),
        clip_fraction_low=mean(totals.clipped_low),
        clip_fraction_high=mean(totals.clipped_high),
        rollout_logprob_abs_diff=mean(totals.rollout_logprob_abs_diff),
        active_tokens=active_tokens,
        grad_norm=_finite(grad_norm),
        learning_rate=learning_rate,
        skipped=skipped,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

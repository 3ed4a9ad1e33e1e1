"""From the sums of a whole step to what is reported."""

import math
from dataclasses import fields
from typing import Any

from torch import Tensor

from slime.data.metrics import StepMetrics
from slime.loss import MetricSums, Normalizer


def step_metrics(
    totals: MetricSums, grad_norm: float, learning_rate: float, *, skipped: bool
) -> StepMetrics:
    """totals: over all micro-batches of all ranks."""
    values: dict[str, Any] = {f.name: _metric(f.name, totals) for f in fields(MetricSums)}
    return StepMetrics(
        **values | {"active_tokens": int(totals.active_tokens)},
        grad_norm=_finite(grad_norm),
        learning_rate=learning_rate,
        skipped=skipped,
    )


def _metric(name: str, totals: MetricSums) -> float | None:
    total: Tensor = getattr(totals, name)
    match MetricSums.normalizer(name):
        case Normalizer.nothing:
            return _finite(total.item())
        case Normalizer.active_tokens:
            active_tokens = int(totals.active_tokens)
            return _finite(total.item() / active_tokens) if active_tokens else 0.0


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

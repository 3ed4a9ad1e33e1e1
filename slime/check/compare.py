"""Term by term: what the configured layout computed against the single-process reference."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import safetensors.torch
from torch import Tensor

from slime.check.reference import Measure, ReferenceStep
from slime.check.tolerances import Tolerances
from slime.data.metrics import StepGradient, StepMetrics

# Of a parameter's largest gradient element, relative to that of all parameters.
_LEAST_SCALE = 1e-2

# What a step reports that is not computed from its loss.
_NOT_COMPARED = ("learning_rate", "skipped")


@dataclass(frozen=True, slots=True)
class Row:
    """One term of the table.  layout is None where it is not a finite number."""

    term: str
    layout: float | None
    reference: float
    relative_error: float | None  # None: not a finite number
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.relative_error is not None and self.relative_error <= self.tolerance


def compare(found: StepGradient, reference: ReferenceStep, tolerances: Tolerances) -> list[Row]:
    """A row for each metric of the step, in their order, and for the worst parameter.

    The relative error of a sum goes by the absolute values of what was added up, since it is those
    whose rounding it has; that of a parameter by its largest gradient element, but by no less than
    a hundredth of the largest of all: a gradient that is nothing (that of the queries where every
    sample is one token long) is rounding only.
    """
    return [
        *_metric_rows(found.metrics, reference.measures, tolerances),
        _worst_parameter(found.shards, reference.gradient, tolerances.parameter),
    ]


def _metric_rows(
    metrics: StepMetrics, measures: Mapping[str, Measure], tolerances: Tolerances
) -> Iterator[Row]:
    for f in fields(StepMetrics):
        if f.name in _NOT_COMPARED:
            continue
        value: float | None = getattr(metrics, f.name)
        measure = measures[f.name]
        tolerance = tolerances.norm if f.name == "grad_norm" else tolerances.value
        error = _relative(value, measure.value, measure.scale)
        yield Row(f.name, value, measure.value, error, tolerance)


def _relative(value: float | None, expected: float, scale: float) -> float | None:
    if value is None:
        return None
    if value == expected:
        return 0.0
    return abs(value - expected) / scale if scale > 0 else None


def _worst_parameter(
    shards: tuple[bytes, ...], reference: Mapping[str, Tensor], tolerance: float
) -> Row:
    found: dict[str, Tensor] = {}
    for shard in shards:
        found |= safetensors.torch.load(shard) if shard else {}
    for name in sorted(found.keys() ^ reference.keys()):
        where = "the reference" if name in found else "the layout"
        return Row(f"worst parameter: {name} (not in {where})", None, math.nan, None, tolerance)
    floor = _LEAST_SCALE * max(gradient.abs().max().item() for gradient in reference.values())
    rows = [_parameter(name, found[name], reference[name], floor, tolerance) for name in reference]
    return max(rows, key=lambda row: math.inf if row.relative_error is None else row.relative_error)


def _parameter(name: str, found: Tensor, expected: Tensor, floor: float, tolerance: float) -> Row:
    """With the element that is furthest off."""
    term = f"worst parameter: {name}"
    if found.shape != expected.shape:
        return Row(f"{term} (shape)", None, math.nan, None, tolerance)
    largest = expected.abs().max().item()
    if not found.isfinite().all():
        return Row(term, None, largest, None, tolerance)
    worst = int((found.double() - expected).abs().argmax())
    value, wanted = found.flatten()[worst].item(), expected.flatten()[worst].item()
    return Row(term, value, wanted, _relative(value, wanted, max(largest, floor)), tolerance)

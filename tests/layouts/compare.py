"""How far a step's metrics and gradient are from the oracle's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import pytest
from layouts.problems import Problem
from torch import Tensor

from slime.data.metrics import StepMetrics


@dataclass(frozen=True)
class Bounds:
    """relative: to the oracle's value, for a tensor to its largest entry.

    of_terms: to the sum of the absolute terms of a value, because a sum whose terms cancel keeps
    the errors of each.  of_largest: the same for a tensor, to the largest entry of all tensors.
    """

    relative: float
    of_terms: float
    of_largest: float


# A log-prob in float32 is right to about 1e-6, and so is every term of a sum.
FLOAT32 = Bounds(relative=2e-5, of_terms=1e-6, of_largest=2e-7)


def assert_metrics_are(
    actual: StepMetrics, problem: Problem, bounds: Bounds, learning_rate: float
) -> None:
    expected = problem.expected
    for field in fields(StepMetrics):
        value, name = getattr(actual, field.name), field.name
        if name == "skipped":
            assert value is False
        elif name == "learning_rate":
            assert value == learning_rate
        elif name == "grad_norm":
            norm = math.sqrt(sum(float((g**2).sum()) for g in problem.gradient.values()))
            assert value == pytest.approx(norm, rel=bounds.relative, abs=0)
        else:
            right = expected.metrics[name]
            bound = bounds.relative * abs(right) + bounds.of_terms * expected.absolute[name]
            assert abs(value - right) <= bound, f"{name}: {value} instead of {right}"


def assert_gradient_is(
    actual: Mapping[str, Tensor], expected: Mapping[str, np.ndarray], bounds: Bounds
) -> None:
    """Of every parameter."""
    assert actual.keys() == expected.keys()
    largest = max(np.abs(values).max() for values in expected.values())
    for name, right in expected.items():
        off = np.abs(actual[name].double().numpy() - right).max()
        bound = bounds.relative * np.abs(right).max() + bounds.of_largest * largest
        assert off <= bound, (
            f"{name}: off by {off:.2e}, {off / np.abs(right).max():.1e} of its largest entry"
        )


def assert_weights_are(
    actual: Mapping[str, Tensor],
    expected: Mapping[str, np.ndarray],
    before: Mapping[str, np.ndarray],
    bounds: Bounds,
) -> None:
    """After a step: relative to what the step changed, up to the rounding of the weight itself."""
    assert actual.keys() == expected.keys()
    for name, right in expected.items():
        off = np.abs(actual[name].double().numpy() - right).max()
        moved = np.abs(right - before[name]).max()
        bound = bounds.relative * moved + bounds.of_largest * np.abs(right).max()
        assert off <= bound, f"{name}: off by {off:.2e} after a step of {moved:.2e}"

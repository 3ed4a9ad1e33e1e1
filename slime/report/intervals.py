"""How sure the parameters of a fitted law are.

An interval is the wider of two: from the fit's covariance (points independent), and from leaving
out a seed at a time (a lucky run stays lucky; jackknife, Student's t on seeds - 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from slime.report.law import PARAMETERS, Floats, Points, best, residuals

FEWEST_SEEDS = 3  # for the jackknife
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A parameter with its 95% interval, and the standard error and freedom that made it."""

    value: float
    low: float
    high: float
    error: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A parameter of one recipe minus that of another, 95%."""

    estimate: float
    low: float
    high: float


def difference(a: Estimate, b: Estimate) -> Difference:
    """Welch's interval for a minus b."""
    apart = a.value - b.value
    variances = (a.error**2, b.error**2)
    if sum(variances) == 0:
        return Difference(apart, apart, apart)
    shares = variances[0] ** 2 / a.freedom + variances[1] ** 2 / b.freedom
    reach = _t(sum(variances) ** 2 / shares) * sum(variances) ** 0.5
    return Difference(apart, apart - reach, apart + reach)


def estimates(points: Points, theta: Floats, reach: float) -> list[Estimate] | None:
    """R0, A, B, Cmid; None when the points do not tell them apart."""
    compute = points.compute / reach
    slopes = optimize.approx_fprime(theta, lambda t: residuals(t, compute, points.reward), 1e-6)
    if np.linalg.cond(slopes / np.maximum(np.abs(slopes).max(axis=0), 1e-300)) > 1e6:
        return None
    freedom = len(compute) - PARAMETERS
    noise = float((residuals(theta, compute, points.reward) ** 2).sum()) / freedom
    errors = [np.sqrt(noise * np.diag(np.linalg.inv(slopes.T @ slopes)))]
    freedoms = [freedom]
    runs = np.unique(points.run)
    if len(runs) >= FEWEST_SEEDS:
        left_out = np.stack([best(points.without(run), reach) for run in runs])
        spread = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
        errors.append(np.sqrt(spread * (len(runs) - 1) / len(runs)))
        freedoms.append(len(runs) - 1)
    scale = (0.0, 0.0, 0.0, np.log(reach))
    return [_estimate(place, theta + scale, errors, freedoms) for place in range(PARAMETERS)]


def _estimate(
    place: int, theta: Floats, errors: Sequence[Floats], freedoms: Sequence[int]
) -> Estimate:
    """The wider interval; B and Cmid were fitted as logarithms."""
    value = float(theta[place])
    reach, error, freedom = max(
        (_t(f) * float(e[place]), float(e[place]), f) for e, f in zip(errors, freedoms, strict=True)
    )
    ends = (value, value - reach, value + reach)
    if place >= 2:
        ends = tuple(float(np.exp(np.clip(end, -700, 700))) for end in ends)  # type: ignore[assignment]
    return Estimate(*ends, error=error, freedom=freedom)


def _t(freedom: float) -> float:
    return float(stats.t.ppf((1 + _LEVEL) / 2, freedom))

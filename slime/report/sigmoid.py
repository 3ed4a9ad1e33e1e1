"""ScaleRL's law of reward against compute (arXiv:2510.13786), or the reason why it cannot be had.

    R(C) = R0 + (A - R0) / (1 + (Cmid / C)^B)

A: where the reward ends up.  B: how steep the climb is.  Cmid: where half of it is done.  R0: where
it starts; all four are fitted, and the reward before training is one of the points.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from slime.report.intervals import Estimate, estimates
from slime.report.law import PARAMETERS, STEEPNESS, Floats, Points, best, climbed, law, residuals

FEWEST_POINTS = 2 * PARAMETERS  # distinct compute
_BINS = 8


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """The fitted law.  reach: the largest compute in the data; beyond it, it is extrapolated."""

    start: Estimate
    asymptote: Estimate
    steepness: Estimate
    midpoint: Estimate
    reach: float
    seeds: int

    @property
    def climbed(self) -> float:
        """The part of the way from R0 to A that lies in the data."""
        compute = np.array([self.reach])
        return float(climbed(compute, self.steepness.value, self.midpoint.value)[0])

    def __call__(self, compute: Floats) -> Floats:
        theta = (self.start.value, self.asymptote.value)
        return law(compute, *theta, self.steepness.value, self.midpoint.value)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no fit, in words that finish `not fitted: `."""

    reason: str


def fit(points: Points) -> Sigmoid | Refused:
    """The law through the points, or why they cannot carry it."""
    distinct = len(np.unique(points.compute))
    if distinct < FEWEST_POINTS:
        return Refused(
            f"too few points: {distinct} at different compute; four parameters need {FEWEST_POINTS}"
        )
    if np.ptp(points.reward) == 0 or _p_of_flat(points) > 0.01:
        return Refused("flat: the reward does not change beyond its noise")
    reach = float(points.compute.max())
    theta = best(points, reach)
    reason = _what_is_wrong(points, theta, reach) or _misfit(points, theta, reach)
    if reason:
        return Refused(reason)
    found = estimates(points, theta, reach)
    if found is None:
        return Refused("not identified: other parameters fit the same points as well")
    start, asymptote, steepness, midpoint = found
    climb = asymptote.value - start.value
    if not asymptote.high - asymptote.low <= climb / 2:
        return Refused(
            f"A is not identified: its 95% interval, {asymptote.low:.2f} to {asymptote.high:.2f}, "
            f"is wider than half of the climb of {climb:.2f}"
        )
    seeds = len(np.unique(points.run))
    return Sigmoid(start, asymptote, steepness, midpoint, reach, seeds)


def _what_is_wrong(points: Points, theta: Floats, reach: float) -> str | None:
    """What the best parameters themselves say against the fit."""
    start, asymptote = theta[:2]
    steepness, midpoint = np.exp(theta[2:])
    first = float(points.compute[points.compute > 0].min()) / reach
    if midpoint > 1:
        return (
            "no plateau in sight: the best fit has half of its climb beyond the data, "
            "as a straight line would"
        )
    if asymptote <= start:
        return "the reward falls: there is no climb to extrapolate"
    if midpoint < first:
        return "the climb is over before the second point: its shape is not in the data"
    if steepness > 0.98 * STEEPNESS[1]:
        return f"B ends at its bound of {STEEPNESS[1]:g}: a step, whose shape is not in the data"
    if steepness < 1.02 * STEEPNESS[0]:
        return f"B ends at its bound of {STEEPNESS[0]:g}: no plateau in sight"
    return None


def _p_of_flat(points: Points) -> float:
    """F test of a cubic polynomial's improvement on a constant: is there any trend at all?"""
    scaled = points.compute / points.compute.max()
    left = points.reward - np.polyval(np.polyfit(scaled, points.reward, 3), scaled)
    constant = float(((points.reward - points.reward.mean()) ** 2).sum())
    return _p_of_f(constant - float((left**2).sum()), 3, left, len(scaled) - 4)


def _misfit(points: Points, theta: Floats, reach: float) -> str | None:
    """F test of what the law leaves over, in bins of compute: the curve may rise and fall again."""
    if len(np.unique(points.compute)) < 2 * _BINS:
        return None
    left_over = residuals(theta, points.compute / reach, points.reward)
    edges = np.quantile(points.compute, np.linspace(0, 1, _BINS + 1)[1:-1])
    bins = np.digitize(points.compute, edges)
    means = np.array([left_over[bins == b].mean() for b in range(_BINS)])
    explained = float((means[bins] ** 2).sum())
    left = left_over - means[bins]
    if _p_of_f(explained, _BINS - PARAMETERS, left, len(left) - _BINS) >= 1e-3:
        return None
    return "the curve is no sigmoid: it leaves more than noise over (a collapse, a second climb)"


def _p_of_f(explained: float, freedom: int, left: Floats, left_freedom: int) -> float:
    noise = float((left**2).sum()) / left_freedom
    if noise < 1e-18:
        return 1.0 if explained < 1e-15 else 0.0
    return float(stats.f.sf(max(explained, 0) / freedom / noise, freedom, left_freedom))

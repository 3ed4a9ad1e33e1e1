"""ScaleRL's law of reward against compute (arXiv:2510.13786), or the reason why it cannot be had.

    R(C) = R0 + (A - R0) / (1 + (Cmid / C)^B)

A: where the reward ends up.  B: how steep the climb is.  Cmid: where half of it is done.  R0: where
it starts; all four are fitted, and the reward before training is one of the points.

For given B and Cmid the law is linear in R0 and A, so a grid over those two finds the neighbourhood
of the best fit, and least squares ends there.  An interval is the wider of two: from the fit's
covariance (points independent), and from leaving out a seed at a time (a lucky run stays lucky;
jackknife, Student's t on seeds - 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Floats = npt.NDArray[np.float64]

PARAMETERS = 4
FEWEST_POINTS = 2 * PARAMETERS  # distinct compute
STEEPNESS = (0.2, 12.0)  # of B; a fit that ends there is a line or a step
MIDPOINT = (1e-3, 1e2)  # of Cmid, in units of the largest compute
FEWEST_SEEDS = 3  # for the jackknife
_BINS = 8
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Points:
    """Rewards of several runs against compute.  All [N]; run: which run a point is of."""

    compute: Floats
    reward: Floats
    run: npt.NDArray[np.int64]

    def without(self, run: int) -> "Points":
        keep = self.run != run
        return Points(self.compute[keep], self.reward[keep], self.run[keep])


@dataclass(frozen=True, slots=True)
class Estimate:
    """A parameter with its 95% interval, and the standard error and freedom that made it."""

    value: float
    low: float
    high: float
    error: float
    freedom: float


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
        return float(_climbed(compute, self.steepness.value, self.midpoint.value)[0])

    def __call__(self, compute: Floats) -> Floats:
        theta = (self.start.value, self.asymptote.value)
        return _law(compute, *theta, self.steepness.value, self.midpoint.value)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no fit, in words that finish `not fitted: `."""

    reason: str


@dataclass(frozen=True, slots=True)
class AsymptoteDifference:
    """A of one recipe minus A of another, 95%."""

    estimate: float
    low: float
    high: float


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
    theta = _best(points, reach)
    reason = _what_is_wrong(points, theta, reach) or _misfit(points, theta, reach)
    if reason:
        return Refused(reason)
    estimates = _estimates(points, theta, reach)
    if estimates is None:
        return Refused("not identified: other parameters fit the same points as well")
    start, asymptote, steepness, midpoint = estimates
    climb = asymptote.value - start.value
    if not asymptote.high - asymptote.low <= climb / 2:
        return Refused(
            f"A is not identified: its 95% interval, {asymptote.low:.2f} to {asymptote.high:.2f}, "
            f"is wider than half of the climb of {climb:.2f}"
        )
    seeds = len(np.unique(points.run))
    return Sigmoid(start, asymptote, steepness, midpoint, reach, seeds)


def difference_of_asymptotes(first: Sigmoid, second: Sigmoid) -> AsymptoteDifference:
    """Welch's interval for A of the first minus A of the second."""
    a, b = first.asymptote, second.asymptote
    variances = (a.error**2, b.error**2)
    if sum(variances) == 0:
        return AsymptoteDifference(a.value - b.value, a.value - b.value, a.value - b.value)
    shares = variances[0] ** 2 / a.freedom + variances[1] ** 2 / b.freedom
    reach = _t(sum(variances) ** 2 / shares) * sum(variances) ** 0.5
    estimate = a.value - b.value
    return AsymptoteDifference(estimate, estimate - reach, estimate + reach)


def _law(compute: Floats, start: float, asymptote: float, steep: float, middle: float) -> Floats:
    return start + (asymptote - start) * _climbed(compute, steep, middle)


def _climbed(compute: Floats, steepness: float | Floats, midpoint: float | Floats) -> Floats:
    """1 / (1 + (Cmid / C)^B), which is 0 at C = 0."""
    power = (np.asarray(compute, dtype=float) / midpoint) ** steepness
    return np.asarray(power / (1 + power))


def _best(points: Points, reach: float) -> Floats:
    """Least squares: (R0, A, log B, log(Cmid / reach))."""
    compute, reward = points.compute / reach, points.reward
    limits = np.log([STEEPNESS, MIDPOINT]).T
    begin = _nearest_on_grid(compute, reward)
    begin[2:] = np.clip(begin[2:], limits[0] + 1e-6, limits[1] - 1e-6)
    found = optimize.least_squares(
        lambda theta: _residuals(theta, compute, reward),
        x0=begin,
        bounds=([-np.inf, -np.inf, *limits[0]], [np.inf, np.inf, *limits[1]]),
        x_scale="jac",
    )
    return np.asarray(found.x, dtype=float)


def _nearest_on_grid(compute: Floats, reward: Floats) -> Floats:
    """The best of a grid [G] of shapes (B, Cmid), each with its own best R0 and A.

    For a given shape, reward = R0 + (A - R0) * climbed is a straight line in `climbed` [G, N].
    """
    steepness, midpoint = np.meshgrid(np.geomspace(*STEEPNESS, 13), np.geomspace(*MIDPOINT, 31))
    shapes = np.log([steepness.ravel(), midpoint.ravel()])
    climbed = _climbed(compute, *np.exp(shapes)[:, :, None])
    centred = climbed - climbed.mean(axis=1, keepdims=True)
    spread = np.maximum((centred**2).sum(axis=1), 1e-300)
    climb = centred @ (reward - reward.mean()) / spread
    best = int(np.argmax(climb**2 * spread))  # the sum of squares that the line explains
    start = reward.mean() - climb[best] * climbed[best].mean()
    return np.array([start, start + climb[best], *shapes[:, best]])


def _residuals(theta: Floats, compute: Floats, reward: Floats) -> Floats:
    return _law(compute, theta[0], theta[1], np.exp(theta[2]), np.exp(theta[3])) - reward


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
    residuals = points.reward - np.polyval(np.polyfit(scaled, points.reward, 3), scaled)
    constant = float(((points.reward - points.reward.mean()) ** 2).sum())
    return _p_of_f(constant - float((residuals**2).sum()), 3, residuals, len(scaled) - 4)


def _misfit(points: Points, theta: Floats, reach: float) -> str | None:
    """F test of what the law leaves over, in bins of compute: the curve may rise and fall again."""
    if len(np.unique(points.compute)) < 2 * _BINS:
        return None
    residuals = _residuals(theta, points.compute / reach, points.reward)
    edges = np.quantile(points.compute, np.linspace(0, 1, _BINS + 1)[1:-1])
    bins = np.digitize(points.compute, edges)
    means = np.array([residuals[bins == b].mean() for b in range(_BINS)])
    explained = float((means[bins] ** 2).sum())
    left = residuals - means[bins]
    if _p_of_f(explained, _BINS - PARAMETERS, left, len(left) - _BINS) >= 1e-3:
        return None
    return "the curve is no sigmoid: it leaves more than noise over (a collapse, a second climb)"


def _p_of_f(explained: float, freedom: int, left: Floats, left_freedom: int) -> float:
    noise = float((left**2).sum()) / left_freedom
    if noise < 1e-18:
        return 1.0 if explained < 1e-15 else 0.0
    return float(stats.f.sf(max(explained, 0) / freedom / noise, freedom, left_freedom))


def _estimates(points: Points, theta: Floats, reach: float) -> list[Estimate] | None:
    """R0, A, B, Cmid; None when the points do not tell them apart."""
    compute = points.compute / reach
    slopes = optimize.approx_fprime(theta, lambda t: _residuals(t, compute, points.reward), 1e-6)
    if np.linalg.cond(slopes / np.maximum(np.abs(slopes).max(axis=0), 1e-300)) > 1e6:
        return None
    freedom = len(compute) - PARAMETERS
    noise = float((_residuals(theta, compute, points.reward) ** 2).sum()) / freedom
    errors = [np.sqrt(noise * np.diag(np.linalg.inv(slopes.T @ slopes)))]
    freedoms = [freedom]
    runs = np.unique(points.run)
    if len(runs) >= FEWEST_SEEDS:
        left_out = np.stack([_best(points.without(run), reach) for run in runs])
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

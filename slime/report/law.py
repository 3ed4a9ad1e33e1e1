"""ScaleRL's law of reward against compute (arXiv:2510.13786), and least squares on it.

    R(C) = R0 + (A - R0) / (1 + (Cmid / C)^B)

For given B and Cmid the law is linear in R0 and A, so a grid over those two finds the neighbourhood
of the best fit, and least squares ends there.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

Floats = npt.NDArray[np.float64]

PARAMETERS = 4
STEEPNESS = (0.2, 12.0)  # of B; a fit that ends there is a line or a step
MIDPOINT = (1e-3, 1e2)  # of Cmid, in units of the largest compute


@dataclass(frozen=True, slots=True)
class Points:
    """Rewards of several runs against compute.  All [N]; run: which run a point is of."""

    compute: Floats
    reward: Floats
    run: npt.NDArray[np.int64]

    def without(self, run: int) -> "Points":
        keep = self.run != run
        return Points(self.compute[keep], self.reward[keep], self.run[keep])


def law(compute: Floats, start: float, asymptote: float, steep: float, middle: float) -> Floats:
    return start + (asymptote - start) * climbed(compute, steep, middle)


def climbed(compute: Floats, steepness: float | Floats, midpoint: float | Floats) -> Floats:
    """1 / (1 + (Cmid / C)^B), which is 0 at C = 0."""
    power = (np.asarray(compute, dtype=float) / midpoint) ** steepness
    return np.asarray(power / (1 + power))


def best(points: Points, reach: float) -> Floats:
    """Least squares: (R0, A, log B, log(Cmid / reach))."""
    compute, reward = points.compute / reach, points.reward
    limits = np.log([STEEPNESS, MIDPOINT]).T
    begin = _nearest_on_grid(compute, reward)
    begin[2:] = np.clip(begin[2:], limits[0] + 1e-6, limits[1] - 1e-6)
    found = optimize.least_squares(
        lambda theta: residuals(theta, compute, reward),
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
    done = climbed(compute, *np.exp(shapes)[:, :, None])
    centred = done - done.mean(axis=1, keepdims=True)
    spread = np.maximum((centred**2).sum(axis=1), 1e-300)
    climb = centred @ (reward - reward.mean()) / spread
    chosen = int(np.argmax(climb**2 * spread))  # the sum of squares that the line explains
    start = reward.mean() - climb[chosen] * done[chosen].mean()
    return np.array([start, start + climb[chosen], *shapes[:, chosen]])


def residuals(theta: Floats, compute: Floats, reward: Floats) -> Floats:
    return law(compute, theta[0], theta[1], np.exp(theta[2]), np.exp(theta[3])) - reward

"""ScaleRL's law: known parameters come back, and what cannot carry it is refused."""

import numpy as np
import pytest

from slime.report.intervals import difference
from slime.report.law import Points
from slime.report.sigmoid import Refused, Sigmoid, fit

STEPS = 24
REACH = 1000.0 * (STEPS - 1)


def law(top, midpoint=4000.0, steepness=1.6, start=0.1):
    def reward(compute):
        with np.errstate(divide="ignore"):
            return start + (top - start) / (1 + (midpoint / compute) ** steepness)

    return reward


def points(reward, noise=0.0, seeds=3, lucky=0.0, steps=STEPS, random=None):
    """Rewards at 0, 1000, 2000, ... tokens.  lucky: what a run has on top throughout (std)."""
    random = random or np.random.default_rng(0)
    compute = np.tile(1000.0 * np.arange(steps), seeds)
    luck = np.repeat(random.normal(0, 1, seeds) * lucky, steps)
    rewards = reward(compute) + luck + noise * random.normal(size=len(compute))
    return Points(compute, rewards, np.repeat(np.arange(seeds), steps))


def test_without_noise_the_parameters_come_back():
    found = fit(points(law(0.7)))
    assert isinstance(found, Sigmoid)
    values = [found.start, found.asymptote, found.steepness, found.midpoint]
    assert [e.value for e in values] == pytest.approx([0.1, 0.7, 1.6, 4000], rel=1e-4)
    assert found(np.array([0.0, 4000.0])) == pytest.approx([0.1, 0.4], abs=1e-4)
    assert found.reach == REACH
    assert found.climbed == pytest.approx(1 / (1 + (4000 / REACH) ** 1.6), rel=1e-3)


@pytest.mark.parametrize(
    "lucky", [0.0, 0.03], ids=["independent points", "a lucky run stays lucky"]
)
def test_with_noise_the_intervals_hold_the_parameters(lucky):
    random = np.random.default_rng(8)
    truth = {"start": 0.1, "asymptote": 0.7, "steepness": 1.6, "midpoint": 4000.0}
    held = dict.fromkeys(truth, 0)
    fitted = 0
    for _ in range(40):
        found = fit(points(law(0.7), noise=0.03, lucky=lucky, random=random))
        if isinstance(found, Refused):
            continue
        fitted += 1
        for name, value in truth.items():
            estimate = getattr(found, name)
            held[name] += estimate.low <= value <= estimate.high
    assert fitted >= 36
    assert all(count >= 0.9 * fitted for count in held.values()), held


def test_the_interval_of_independent_points_is_that_of_the_covariance():
    """Two seeds: no jackknife.  Oracle: linearised least squares with numeric derivatives."""
    data = points(law(0.7), noise=0.02, seeds=2)
    found = fit(data)
    theta = np.array([e.value for e in (found.start, found.asymptote)])
    shape = (np.log(found.steepness.value), np.log(found.midpoint.value))
    theta = np.array([*theta, *shape])

    def predicted(t):
        return law(t[1], np.exp(t[3]), np.exp(t[2]), t[0])(data.compute)

    steps = 1e-5 * np.eye(4)
    slopes = np.stack([(predicted(theta + h) - predicted(theta - h)) / 2e-5 for h in steps], axis=1)
    residuals = data.reward - predicted(theta)
    covariance = residuals @ residuals / (len(residuals) - 4) * np.linalg.inv(slopes.T @ slopes)
    assert found.asymptote.error == pytest.approx(covariance[1, 1] ** 0.5, rel=1e-3)


def test_the_interval_of_runs_that_stay_lucky_is_that_of_leaving_out_one_seed_at_a_time():
    data = points(law(0.7), noise=0.01, lucky=0.05, seeds=4)
    found = fit(data)
    left_out = [fit(data.without(run)).asymptote.value for run in range(4)]
    spread = sum((value - np.mean(left_out)) ** 2 for value in left_out)
    assert found.asymptote.error == pytest.approx((spread * 3 / 4) ** 0.5, rel=1e-4)
    assert found.asymptote.freedom == 3
    reach = 3.1824 * found.asymptote.error  # Student's t, 3 degrees of freedom
    assert found.asymptote.high - found.asymptote.value == pytest.approx(reach, rel=1e-4)


REFUSALS = {
    "too few points": (points(law(0.7), steps=2), "too few points: 2"),
    "almost enough points": (points(law(0.7), steps=7), "too few points: 7"),
    "a constant": (points(lambda c: 0.3 + 0 * c), "flat"),
    "a noisy constant": (points(lambda c: 0.3 + 0 * c, noise=0.05), "flat"),
    "a line": (points(lambda c: 0.1 + 2e-5 * c), "no plateau in sight"),
    "a noisy line": (points(lambda c: 0.1 + 2e-5 * c, noise=0.02), "no plateau in sight"),
    "a climb that has only begun": (points(law(0.7, midpoint=60000.0)), "no plateau in sight"),
    "a fall": (points(lambda c: 0.8 - law(0.7)(c), noise=0.01), "the reward falls"),
    "a step": (points(lambda c: 0.1 + 0.5 * (c > 9500), noise=0.01), "B ends at its bound"),
    "a collapse": (
        points(lambda c: 0.1 + 0.6 * np.sin(c / REACH * np.pi), noise=0.02),
        "the curve is no sigmoid",
    ),
    "runs that disagree": (
        points(law(0.7, midpoint=10000.0), noise=0.05, lucky=0.1),
        "A is not identified",
    ),
}


@pytest.mark.parametrize(("data", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_refused_with_the_reason(data, reason):
    found = fit(data)
    assert isinstance(found, Refused), found
    assert found.reason.startswith(reason)


def test_the_unit_of_compute_does_not_matter():
    data = points(law(0.7), noise=0.02)
    found, scaled = fit(data), fit(Points(data.compute * 1e6, data.reward, data.run))
    assert scaled.asymptote.value == pytest.approx(found.asymptote.value, rel=1e-5)
    assert scaled.midpoint.value == pytest.approx(found.midpoint.value * 1e6, rel=1e-4)


def test_asymptotes_far_apart_are_told_apart_and_turned_around_give_the_negative():
    random = np.random.default_rng(2)
    first = fit(points(law(0.8), noise=0.02, random=random))
    second = fit(points(law(0.5), noise=0.02, random=random))
    there = difference(first.asymptote, second.asymptote)
    back = difference(second.asymptote, first.asymptote)
    assert there.low > 0
    assert (there.estimate, there.low, there.high) == pytest.approx(
        (-back.estimate, -back.high, -back.low)
    )

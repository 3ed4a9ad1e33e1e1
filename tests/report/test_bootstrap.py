"""Intervals against closed forms written here, and against the truth of simulated experiments."""

import math

import numpy as np
import pytest
from scipy import stats

from slime.report.bootstrap import (
    Rewards,
    difference_interval,
    holm,
    mean_interval,
    resample,
)


def tables(random, seeds, prompts, recipes=2, seed_spread=0.5, prompt_spread=2.0, shared=0.5):
    """0/1 rewards of a logistic model: effects of seed, of prompt, and of both with the recipe.

    All recipes have the same expected reward.  shared: what the recipes have in common of a seed.
    """
    of_prompt = random.normal(0, prompt_spread, prompts)
    of_seed = random.normal(0, seed_spread, seeds)
    found = []
    for _ in range(recipes):
        own = random.normal(0, seed_spread, seeds)
        seed_effect = math.sqrt(shared) * of_seed + math.sqrt(1 - shared) * own
        logits = 0.4 + of_prompt + random.normal(0, 0.5, prompts) + seed_effect[:, None]
        found.append((random.random((seeds, prompts)) < 1 / (1 + np.exp(-logits))).astype(float))
    return found


def intervals(first, second, seed=0, seeds_of_second=None):
    seeds = tuple(range(len(first)))
    recipes = [Rewards(seeds, first), Rewards(seeds_of_second or seeds, second)]
    return resample(recipes, seed)


def two_way_interval(table):
    """The same interval without a single random number: a mean's bootstrap variances are known."""
    runs, prompts = table.shape
    over_prompts = table.mean(axis=0).var() / prompts
    over_seeds = table.mean(axis=1).var(ddof=1) / runs
    fitted = table.mean(axis=0)[None, :] + table.mean(axis=1)[:, None] - table.mean()
    residual = ((table - fitted) ** 2).sum() / (runs - 1) / (prompts - 1) / runs / prompts
    variance = max(over_prompts + over_seeds - residual, over_prompts, over_seeds)
    reach = stats.t.ppf(0.975, variance**2 * (runs - 1) / over_seeds**2) * math.sqrt(variance)
    return table.mean() - reach, table.mean() + reach


@pytest.mark.parametrize("seeds", [3, 8])
def test_the_bootstrap_agrees_with_the_closed_form(seeds):
    first, second = tables(np.random.default_rng(5), seeds, 200)
    one, other = intervals(first, second)
    low, high = two_way_interval(first)
    mean = mean_interval(one)
    assert mean.high - mean.low == pytest.approx(high - low, rel=0.04)
    assert (mean.low + mean.high) / 2 == pytest.approx(first.mean())
    low, high = two_way_interval(first - second)  # the same seeds: paired by seed and by prompt
    pair = difference_interval(one, other)
    assert pair.high - pair.low == pytest.approx(high - low, rel=0.06)
    assert pair.estimate == pytest.approx(first.mean() - second.mean())


@pytest.fixture
def few_replicates(monkeypatch):
    """A tenth: how often an interval holds the truth takes hundreds of them."""
    monkeypatch.setattr("slime.report.bootstrap.REPLICATES", 400)


@pytest.mark.usefixtures("few_replicates")
@pytest.mark.parametrize(
    ("seeds", "seed_spread"), [(3, 0.0), (3, 0.5), (3, 1.5), (8, 0.5)], ids=str
)
def test_95_of_100_intervals_hold_the_truth(seeds, seed_spread):
    """Whether seeds matter a lot or not at all, three seeds or many."""
    random = np.random.default_rng(17)
    repetitions = 300
    holds = 0
    for number in range(repetitions):
        first, second = tables(random, seeds, 120, seed_spread=seed_spread)
        holds += difference_interval(*intervals(first, second, seed=number)).holds_zero
    assert 0.92 <= holds / repetitions <= 0.995


@pytest.mark.usefixtures("few_replicates")
def test_different_seeds_are_compared_without_pairing_and_still_hold_the_truth():
    random = np.random.default_rng(18)
    holds = 0
    for number in range(200):
        first, second = tables(random, 4, 120, seed_spread=0.8, shared=0.0)
        pair = intervals(first, second, number, seeds_of_second=(7, 8, 9, 10))
        holds += difference_interval(*pair).holds_zero
    assert 0.91 <= holds / 200 <= 0.995


@pytest.mark.usefixtures("few_replicates")
def test_the_mean_of_a_recipe_is_held_by_its_interval():
    random = np.random.default_rng(19)
    truth = np.mean([tables(random, 300, 300, 1)[0].mean() for _ in range(40)])
    holds = 0
    for number in range(200):
        table, other = tables(random, 4, 120)
        interval = mean_interval(intervals(table, other, number)[0])
        holds += interval.low <= truth <= interval.high
    assert 0.90 <= holds / 200 <= 0.995


@pytest.mark.parametrize("seeds_of_second", [None, (5, 6, 7)], ids=["same seeds", "others"])
def test_turning_a_pair_around_turns_its_difference_around(seeds_of_second):
    first, second = tables(np.random.default_rng(1), 3, 50)
    one, other = intervals(first, second, seeds_of_second=seeds_of_second)
    there, back = difference_interval(one, other), difference_interval(other, one)
    assert (there.estimate, there.low, there.high) == pytest.approx(
        (-back.estimate, -back.high, -back.low), abs=1e-12
    )
    assert there.p_value == pytest.approx(back.p_value)


def test_the_interval_holds_zero_exactly_when_p_is_above_a_twentieth():
    random = np.random.default_rng(3)
    for _ in range(50):
        first, second = tables(random, 3, 40)
        pair = difference_interval(*intervals(first, np.maximum(second - first[::-1], 0)))
        assert pair.holds_zero == (pair.p_value > 0.05)


def test_pairing_by_prompt_tells_apart_what_the_spread_of_prompts_would_hide():
    hard = np.random.default_rng(2).random(400)
    first = np.stack([hard < 0.52] * 3).astype(float)
    second = np.stack([hard < 0.48] * 3).astype(float)
    one, other = intervals(first, second)
    assert mean_interval(one).low < mean_interval(other).high  # by themselves they overlap
    assert not difference_interval(one, other).holds_zero


def test_pairing_by_seed_tells_apart_what_the_spread_of_seeds_would_hide():
    random = np.random.default_rng(4)
    of_seed = np.array([[-0.2], [0.0], [0.2]])
    noise = random.normal(0, 0.01, (2, 3, 100))
    first, second = 0.5 + of_seed + noise[0], 0.45 + of_seed + noise[1]
    assert not difference_interval(*intervals(first, second)).holds_zero
    unpaired = intervals(first, second, seeds_of_second=(3, 4, 5))
    assert difference_interval(*unpaired).holds_zero


def test_one_seed_resamples_prompts_alone():
    table = (np.random.default_rng(6).random((1, 300)) < 0.5).astype(float)
    one, _ = intervals(table, table)
    interval = mean_interval(one)
    reach = 1.96 * table.std() / math.sqrt(300)
    assert interval.high - interval.low == pytest.approx(2 * reach, rel=0.05)


def test_equal_rewards_everywhere_are_no_difference_and_no_division_by_zero():
    ones = np.ones((3, 20))
    pair = difference_interval(*intervals(ones, ones))
    assert (pair.estimate, pair.low, pair.high, pair.p_value) == (0, 0, 0, 1)
    assert pair.holds_zero


def test_too_few_prompts_and_different_prompts_are_refused():
    with pytest.raises(ValueError, match="9 common held-out prompts; an interval needs 10"):
        intervals(np.ones((3, 9)), np.ones((3, 9)))
    with pytest.raises(ValueError, match="the same prompts"):
        intervals(np.ones((3, 20)), np.ones((3, 30)))


def test_holm_multiplies_the_smallest_p_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []

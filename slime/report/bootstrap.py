"""How sure a mean held-out reward is, and a difference between two recipes.

Two things would come out otherwise in another experiment: the seeds, and which prompts were held
out.  Every run answers the same prompts, so both directions of the table `rewards[run, prompt]`
are resampled, each by itself:

    prompts  P of P with replacement
    seeds    n - 1 of n with replacement (n of n would make the variance of a mean too small by
             (n - 1) / n: for three seeds, a third)

    variance = variance over prompts + variance over seeds - residual

residual = the run-by-prompt noise, which both draws contain and one must give back (two-way
clustering; Cameron, Gelbach and Miller 2011, doi:10.1198/jbes.2010.07136).  The interval is
estimate +- t * sqrt(variance), with Welch and Satterthwaite's degrees of freedom: percentiles of
three runs never reach beyond the three.

All recipes get the same draws, so a difference is paired by prompt.  A seed decides the training
prompts and how answers are sampled, so recipes with the same seeds are paired by seed too; with
different ones, their variances over seeds add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from slime.report.values import Value

Floats = npt.NDArray[np.float64]

REPLICATES = 4000
FEWEST_PROMPTS = 10
LEVEL = 0.95
_MANY = 1e6  # degrees of freedom at which Student's t is the normal distribution
_CHUNK = 500  # replicates drawn at once, to bound the memory of many prompts


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% confidence interval.  p_value: of the estimate being 0 (two-sided)."""

    estimate: float
    low: float
    high: float
    p_value: float

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Rewards:
    """One recipe's final held-out rewards.  table: [runs, prompts]; seeds: one per run."""

    seeds: tuple[Value, ...]
    table: Floats


@dataclass(frozen=True, slots=True)
class Resampled:
    """One recipe's rewards, and their mean in each replicate.  over_...: [REPLICATES]"""

    rewards: Rewards
    over_prompts: Floats
    over_seeds: Floats

    @property
    def seeds(self) -> int:
        return len(self.rewards.seeds)


@dataclass(frozen=True, slots=True)
class _OverSeeds:
    """What the spread over seeds adds to a variance."""

    variance: float
    residual: float
    freedom: int


def resample(recipes: Sequence[Rewards], seed: int = 0) -> list[Resampled]:
    """Bootstrap replicates of every recipe's mean, from the same draws for all.

    recipes: the same prompts in the same columns.
    Raises ValueError for too few prompts: their spread could not be told.
    """
    prompts = {recipe.table.shape[1] for recipe in recipes}
    if len(prompts) != 1:
        raise ValueError(f"the same prompts are needed for all recipes, got {sorted(prompts)}")
    [count] = prompts
    if count < FEWEST_PROMPTS:
        raise ValueError(f"{count} common held-out prompts; an interval needs {FEWEST_PROMPTS}")
    over_prompts = _over_prompts(np.stack([r.table.mean(axis=0) for r in recipes]), seed)
    return [
        Resampled(recipe, replicates, _over_seeds(recipe.table.mean(axis=1), seed))
        for recipe, replicates in zip(recipes, over_prompts, strict=True)
    ]


def mean_interval(recipe: Resampled) -> Interval:
    """The mean reward of a recipe: of the seeds it has, and of others like them."""
    return _interval(_mean(recipe), recipe.over_prompts, [_spread(recipe)])


def difference_interval(first: Resampled, second: Resampled) -> Interval:
    """Mean reward of the first minus that of the second; both from one call of `resample`."""
    over_prompts = first.over_prompts - second.over_prompts
    estimate = _mean(first) - _mean(second)
    if first.rewards.seeds != second.rewards.seeds:
        return _interval(estimate, over_prompts, [_spread(first), _spread(second)])
    pairs = Resampled(
        Rewards(first.rewards.seeds, first.rewards.table - second.rewards.table),
        over_prompts,
        first.over_seeds - second.over_seeds,
    )
    return _interval(estimate, over_prompts, [_spread(pairs)])


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: all of them hold at once with the stated error."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    worst = 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = worst
    return [float(p) for p in adjusted]


def _mean(recipe: Resampled) -> float:
    return float(recipe.rewards.table.mean())


def _spread(recipe: Resampled) -> _OverSeeds:
    variance = float(recipe.over_seeds.var())
    return _OverSeeds(variance, _residual(recipe.rewards.table), recipe.seeds - 1)


def _interval(estimate: float, over_prompts: Floats, spreads: Sequence[_OverSeeds]) -> Interval:
    prompts = float(over_prompts.var())
    seeds = sum(spread.variance for spread in spreads)
    variance = prompts + seeds - sum(spread.residual for spread in spreads)
    variance = max(variance, prompts, seeds)  # the residual is an estimate too
    if variance < 1e-24:  # every answer got the same reward
        return Interval(estimate, estimate, estimate, float(abs(estimate) < 1e-12))
    freedom = _degrees_of_freedom(variance, spreads)
    error = variance**0.5
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p_value = 2 * float(stats.t.sf(abs(estimate) / error, freedom))
    return Interval(estimate, estimate - reach, estimate + reach, p_value)


def _degrees_of_freedom(variance: float, spreads: Sequence[_OverSeeds]) -> float:
    """Few seeds tell little about their spread; prompts are many, and count as infinitely many."""
    uncertain = sum(s.variance**2 / s.freedom for s in spreads if s.freedom)
    return float(min(variance**2 / uncertain, _MANY)) if uncertain > 0 else _MANY


def _over_prompts(per_prompt: Floats, seed: int) -> Floats:
    """[recipes, REPLICATES] from [recipes, prompts]."""
    random = np.random.default_rng([seed, 1])
    count = per_prompt.shape[1]
    shares = np.full(count, 1 / count)
    chunks = [min(_CHUNK, REPLICATES - start) for start in range(0, REPLICATES, _CHUNK)]
    means = [per_prompt @ (random.multinomial(count, shares, size) / count).T for size in chunks]
    return np.concatenate(means, axis=1)


def _over_seeds(run_means: Floats, seed: int) -> Floats:
    """[REPLICATES], the same draws for the same number of runs.

    One run says nothing about the spread over seeds: no variance.
    """
    runs = len(run_means)
    if runs == 1:
        return np.full(REPLICATES, run_means[0])
    random = np.random.default_rng([seed, 2])
    picks = random.integers(runs, size=(REPLICATES, runs - 1))
    return np.asarray(run_means[picks].mean(axis=1))


def _residual(table: Floats) -> float:
    """Variance of the mean that comes from run-by-prompt noise alone (two-way layout)."""
    runs, prompts = table.shape
    if runs == 1:
        return 0.0
    noise = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float((noise**2).sum() / ((runs - 1) * (prompts - 1)) / (runs * prompts))

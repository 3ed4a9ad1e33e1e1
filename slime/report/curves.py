"""From runs to curves: the mean over a recipe's seeds, their spread, and compute."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import pandas as pd

from slime.report.law import Points
from slime.report.recipes import Recipe
from slime.report.run import Run
from slime.report.sigmoid import FEWEST_POINTS

Floats = npt.NDArray[np.float64]

MOST_POINTS = 200  # of a drawn curve; longer ones show means of neighbours
SAMPLED, HELD_OUT = "rollout/reward_mean", "evaluation/reward_mean"


class Table(Enum):
    """Where a metric stands."""

    steps = "steps"
    evaluations = "evaluations"


class Axis(Enum):
    """What counts as compute; the value is how it is written on an axis."""

    tokens = "response tokens generated"
    iterations = "iterations trained"


@dataclass(frozen=True, slots=True)
class Band:
    """The mean over runs at each iteration, and the smallest and largest run.  All [X]."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    per_point: int  # iterations that a point is the mean of


@dataclass(frozen=True, slots=True)
class Curve:
    """One run.  All [X]."""

    x: Floats
    y: Floats


def band(recipe: Recipe, column: str, table: Table = Table.steps) -> Band | None:
    """None when no run has the metric.  It ends where the shortest averaged run ends."""
    columns = [_column(run, column, table) for run in recipe.averaged]
    columns = [c for c in columns if len(c)]
    if not columns:
        return None
    together = pd.concat(columns, axis=1)
    together = together[together.index <= min(c.index[-1] for c in columns)]
    together, size = _thinned(together)
    return Band(
        x=together.index.to_numpy(float),
        mean=together.mean(axis=1).to_numpy(float),
        low=together.min(axis=1).to_numpy(float),
        high=together.max(axis=1).to_numpy(float),
        per_point=size,
    )


def curve(run: Run, column: str, table: Table = Table.steps) -> Curve | None:
    """One run's own points; None when it has none."""
    values = _column(run, column, table)
    if not len(values):
        return None
    frame, _ = _thinned(values.to_frame())
    return Curve(frame.index.to_numpy(float), frame[column].to_numpy(float))


def has_metric(recipes: Sequence[Recipe], column: str) -> bool:
    """Whether any run says anything but 0 about it."""
    tables = [run.steps for recipe in recipes for run in recipe.runs]
    return any(column in t and bool((t[column].fillna(0) != 0).any()) for t in tables)


def choose_axis(recipes: Sequence[Recipe]) -> Axis:
    """Response tokens, unless a run does not say how many it generated."""
    runs = [run for recipe in recipes for run in recipe.averaged]
    return Axis.tokens if all(len(_tokens(run)) for run in runs) else Axis.iterations


def choose_reward(recipes: Sequence[Recipe]) -> str:
    """Held-out reward where each recipe was evaluated often enough for a fit, else sampled."""
    often = all(
        any(len(run.evaluations) >= FEWEST_POINTS for run in recipe.averaged) for recipe in recipes
    )
    return HELD_OUT if often else SAMPLED


def points_of(recipe: Recipe, reward: str, axis: Axis) -> Points:
    """Reward against the compute spent before it was earned, of the averaged runs."""
    parts = []
    for number, run in enumerate(recipe.averaged):
        table = Table.evaluations if reward == HELD_OUT else Table.steps
        rewards = _column(run, reward, table)
        spent = compute_before(run, axis).reindex(rewards.index)
        known = spent.notna().to_numpy()
        parts.append((spent[known], rewards[known], np.full(known.sum(), number)))
    if not parts:
        return Points(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    compute, rewards_of_all, numbers = (np.concatenate(c) for c in zip(*parts, strict=True))
    return Points(compute.astype(float), rewards_of_all.astype(float), numbers.astype(np.int64))


def compute_before(run: Run, axis: Axis) -> pd.Series:
    """Compute spent when so many iterations (index, from 0) had been trained."""
    if axis is Axis.iterations:
        trained = np.arange(run.iterations_trained + 1)
        return pd.Series(trained.astype(float), index=trained)
    tokens = _tokens(run)
    spent = np.concatenate([[0.0], np.cumsum(tokens.to_numpy(float))])
    return pd.Series(spent, index=[*tokens.index, int(tokens.index[-1]) + 1])


def _tokens(run: Run) -> pd.Series:
    """Response tokens generated in each iteration; empty when some iteration does not say."""
    needed = ["rollout/response_tokens_mean", "rollout/rollouts"]
    if any(column not in run.steps for column in needed):
        return pd.Series(dtype=float)
    tokens = run.steps[needed[0]] * run.steps[needed[1]]
    return tokens if tokens.notna().all() else pd.Series(dtype=float)


def _thinned(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """At most MOST_POINTS rows, each the mean of its neighbours.  -> the rows, how many make one"""
    size = max(1, -(-len(frame) // MOST_POINTS))
    if size == 1:
        return frame, 1
    bins = np.arange(len(frame)) // size
    thin = frame.groupby(bins).mean()
    thin.index = pd.Series(frame.index.to_numpy(float)).groupby(bins).mean()
    return thin, size


def _column(run: Run, column: str, table: Table) -> pd.Series:
    frame = run.steps if table is Table.steps else run.evaluations
    return frame[column].dropna() if column in frame else pd.Series(dtype=float)

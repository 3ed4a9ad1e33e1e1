"""The final held-out evaluation: how each recipe stands, and every pair of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from slime.report.bootstrap import (
    Interval,
    Resampled,
    Rewards,
    difference_interval,
    holm,
    mean_interval,
    resample,
)
from slime.report.curves import HELD_OUT
from slime.report.recipes import Recipe
from slime.report.run import Run
from slime.report.values import Value, training_values

NO_DIFFERENCE = "no difference shown"
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Standing:
    """One recipe at the end of training.

    per_seed: held-out reward of each finished run.  start: the same before training.
    interval: None where there is a reason against it.
    """

    recipe: Recipe
    per_seed: tuple[float, ...]
    start: float | None
    iterations: Value
    prompts: int
    interval: Interval | None
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The first recipe minus the second.  adjusted: Holm's p-value over all comparisons."""

    first: Recipe
    second: Recipe
    interval: Interval | None
    adjusted: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class FinalEvaluation:
    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def tested(self) -> tuple[Comparison, ...]:
        """The pairs that could be compared."""
        return tuple(c for c in self.comparisons if c.interval is not None)


def evaluate(recipes: Sequence[Recipe]) -> FinalEvaluation:
    """Means, differences and their intervals; recipes without a finished run have no mean."""
    notes: list[str] = []
    resampled: dict[int, Resampled] = {}
    reasons: dict[int, str] = {}
    prompts: dict[int, int] = {}
    for same_questions in _by_questions(recipes):
        tables, common = _rewards(same_questions, notes)
        for recipe in same_questions:
            prompts[recipe.place] = common
        missing = [r for r in same_questions if r.place not in tables]
        reasons |= {recipe.place: _why_no_rewards(recipe) for recipe in missing}
        try:
            drawn = resample(list(tables.values())) if tables else []
        except ValueError as too_few:
            reasons |= dict.fromkeys(tables, f"no interval: {too_few}")
            continue
        resampled |= dict(zip(tables, drawn, strict=True))
    standings = [
        _standing(recipe, resampled.get(recipe.place), prompts[recipe.place], reasons)
        for recipe in recipes
    ]
    return FinalEvaluation(tuple(standings), _comparisons(recipes, resampled), tuple(notes))


def _by_questions(recipes: Sequence[Recipe]) -> list[list[Recipe]]:
    """Only answers to the same questions, scored the same way, can be paired."""
    groups: dict[frozenset[tuple[str, Value]], list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(frozenset(_questions(recipe).items()), []).append(recipe)
    return list(groups.values())


def _questions(recipe: Recipe) -> dict[str, Value]:
    values = training_values(recipe.runs[0].values)
    return {p: v for p, v in values.items() if p.startswith(("task.", "reward."))}


def _rewards(recipes: Sequence[Recipe], notes: list[str]) -> tuple[dict[int, Rewards], int]:
    """Per recipe (place), over the prompts that all runs answered; and how many these are."""
    answered = {
        recipe.place: {run.seed: a for run in recipe.finished if len(a := _last_answers(run))}
        for recipe in recipes
    }
    answered = {place: seeds for place, seeds in answered.items() if seeds}
    every = [series for seeds in answered.values() for series in seeds.values()]
    if not every:
        return {}, 0
    common = sorted(set.intersection(*(set(series.index) for series in every)))
    most = max(len(series) for series in every)
    if len(common) < most:
        notes.append(f"the intervals use the {len(common)} held-out prompts that all runs answered")
    tables = {
        place: Rewards(
            tuple(seeds), np.stack([a.loc[common].to_numpy(float) for a in seeds.values()])
        )
        for place, seeds in answered.items()
    }
    return tables, len(common)


def _last_answers(run: Run) -> pd.Series:
    """Reward by prompt, of the weights after the last iteration."""
    last = run.answers[run.answers["iteration"] == run.values.get("iterations")]
    return last.set_index("prompt_id")["reward"]


def _why_no_rewards(recipe: Recipe) -> str:
    if not recipe.finished:
        return "no finished run"
    return "no interval: the runs kept no answers of their last evaluation (evaluations.jsonl)"


def _standing(
    recipe: Recipe, resampled: Resampled | None, prompts: int, reasons: dict[int, str]
) -> Standing:
    finals = [_reward_at(run, run.values.get("iterations")) for run in recipe.finished]
    starts = [s for run in recipe.runs if (s := _reward_at(run, 0)) is not None]
    reason = reasons.get(recipe.place, "")
    if resampled is not None and resampled.seeds == 1:
        reason = "one seed: speaks of this run, not of the recipe"
    return Standing(
        recipe=recipe,
        per_seed=tuple(f for f in finals if f is not None),
        start=float(np.mean(starts)) if starts else None,
        iterations=recipe.runs[0].values.get("iterations"),
        prompts=prompts,
        interval=None if resampled is None else mean_interval(resampled),
        reason=reason,
    )


def _reward_at(run: Run, iteration: Value) -> float | None:
    if iteration not in run.evaluations.index:
        return None
    return float(run.evaluations.loc[iteration, HELD_OUT])


def _comparisons(
    recipes: Sequence[Recipe], resampled: dict[int, Resampled]
) -> tuple[Comparison, ...]:
    found = []
    for first, second in combinations(recipes, 2):
        unlike = _unlike_questions(first, second)
        if unlike:
            verdict = f"not compared: {unlike} differs, so the held-out questions or their scoring"
            found.append(Comparison(first, second, None, None, verdict))
        elif first.place in resampled and second.place in resampled:
            interval = difference_interval(resampled[first.place], resampled[second.place])
            found.append(Comparison(first, second, interval, None, ""))
    tested = [c.interval.p_value for c in found if c.interval is not None]
    adjusted = iter(holm(tested))
    return tuple(_judged(c, next(adjusted)) if c.interval else c for c in found)


def _unlike_questions(first: Recipe, second: Recipe) -> str:
    one, other = _questions(first), _questions(second)
    return next((p for p in {**one, **other} if one.get(p) != other.get(p)), "")


def _judged(comparison: Comparison, adjusted: float) -> Comparison:
    interval = comparison.interval
    assert interval is not None
    if interval.holds_zero:
        verdict = NO_DIFFERENCE
    else:
        higher = comparison.first if interval.estimate > 0 else comparison.second
        verdict = f"{higher.label} is higher"
        if adjusted > _SIGNIFICANT:
            verdict += f"; after Holm's correction, {NO_DIFFERENCE}"
    return replace(comparison, adjusted=adjusted, verdict=verdict)

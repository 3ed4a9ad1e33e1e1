"""Curves against iterations: reward, and what else a step says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slime.report.curves import HELD_OUT, SAMPLED, Table, band, curve, has_metric
from slime.report.look import (
    INK,
    Picture,
    colour_of,
    describe,
    look_of,
    new_figure,
    save,
    whole_numbers,
)
from slime.report.metrics import HEALTH, Metric
from slime.report.recipes import Recipe
from slime.report.run import Run

SPREAD = "line: mean over seeds; band: smallest to largest seed"


def draw_learning(recipes: Sequence[Recipe], folder: Path) -> list[Picture]:
    """Sampled reward and held-out reward, all recipes in each."""
    sampled = Metric(SAMPLED, "Sampled reward, training prompts", "mean reward", "")
    held_out = Metric(HELD_OUT, "Greedy reward, held-out prompts", "mean reward", "")
    pictures = [
        _draw(recipes, sampled, Table.steps, folder, "reward-sampled"),
        _draw(recipes, held_out, Table.evaluations, folder, "reward-held-out"),
    ]
    return [picture for picture in pictures if picture]


def draw_health(recipes: Sequence[Recipe], folder: Path) -> tuple[list[Picture], list[str]]:
    """A picture for each metric that is not 0 throughout.  -> pictures, titles of the others"""
    pictures, idle = [], []
    for metric in HEALTH:
        if has_metric(recipes, metric.key):
            name = metric.key.replace("/", "-").replace("_", "-")
            picture = _draw(recipes, metric, Table.steps, folder, name)
            pictures += [picture] if picture else []
        else:
            idle.append(metric.title)
    return pictures, idle


def draw_recipe(recipe: Recipe, recipes: Sequence[Recipe], folder: Path) -> Picture | None:
    """Each run of one recipe, its mean, and the other recipes' means in the background."""
    mean = band(recipe, SAMPLED)
    if mean is None:
        return None
    figure, axes = new_figure(2.7)
    for other in recipes:
        others = band(other, SAMPLED) if other is not recipe else None
        if others:
            axes.plot(others.x, others.mean, color=INK, alpha=0.22, linewidth=1)
    for run in recipe.runs:
        _draw_run(axes, run, recipe.place)
    if len(recipe.averaged) > 1:
        axes.plot(mean.x, mean.mean, **(look_of(recipe.place) | {"linewidth": 2.2, "marker": ""}))
    describe(axes, "iterations trained", "mean sampled reward", recipe.label)
    whole_numbers(axes)
    _room_for_rewards(axes)
    seeds = ", ".join(str(run.seed) for run in recipe.runs)
    unfinished = "; dotted with a cross: a run that is not finished" if recipe.unfinished else ""
    caption = f"thin: seeds {seeds}; thick: their mean; grey: the other recipes{unfinished}"
    return save(figure, folder, f"recipe-{recipe.place + 1}", caption)


def _draw(
    recipes: Sequence[Recipe], metric: Metric, table: Table, folder: Path, name: str
) -> Picture | None:
    figure, axes = new_figure()
    lines = []
    per_point = 1
    for recipe in recipes:
        drawn = band(recipe, metric.key, table)
        if drawn is None:
            continue
        per_point = max(per_point, drawn.per_point)
        if len(recipe.averaged) > 1:
            axes.fill_between(
                drawn.x,
                drawn.low,
                drawn.high,
                color=colour_of(recipe.place),
                alpha=0.13,
                linewidth=0,
            )
        label = recipe.label if recipe.finished else f"{recipe.label} (unfinished)"
        look = look_of(recipe.place, len(drawn.x))
        lines += axes.plot(drawn.x, drawn.mean, label=label, **look)
        for run in recipe.unfinished if recipe.finished else ():
            _draw_unfinished(axes, run, recipe.place, metric.key, table)
    if not lines:
        return None
    describe(axes, "iterations trained", metric.unit, metric.title)
    whole_numbers(axes)
    if metric.key in (SAMPLED, HELD_OUT):
        _room_for_rewards(axes)
    binned = f"; a point is the mean of {per_point} iterations" if per_point > 1 else ""
    meaning = f"{metric.meaning}; " if metric.meaning else ""
    return save(figure, folder, name, f"{meaning}{SPREAD}{binned}", lines)


def _draw_run(axes: Any, run: Run, place: int) -> None:
    if not run.is_finished:
        _draw_unfinished(axes, run, place, SAMPLED, Table.steps)
        return
    line = curve(run, SAMPLED)
    if line:
        axes.plot(line.x, line.y, color=colour_of(place), linewidth=0.9, alpha=0.55)


def _draw_unfinished(axes: Any, run: Run, place: int, key: str, table: Table) -> None:
    """Dotted, with a cross where it ends."""
    line = curve(run, key, table)
    if line:
        colour = colour_of(place)
        axes.plot(line.x, line.y, color=colour, linewidth=1.1, linestyle=":", alpha=0.8)
        axes.plot(line.x[-1:], line.y[-1:], color=colour, marker="x", markersize=6)


def _room_for_rewards(axes: Any) -> None:
    """From 0, where rewards start for most tasks; not up to 1, where small ones would be lost."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), high)

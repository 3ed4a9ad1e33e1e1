"""Where the seconds of an iteration go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slime.report.look import INK, Picture, describe, new_figure, save
from slime.report.recipes import Recipe

WHOLE, THROUGHPUT = "time/iteration_s", "time/response_tokens_per_s"
_OTHER = "other"
# light to dark, so that the order can be told without the hue
_COLOURS = {"generate": "#f0c98a", "reward": "#e08e45", "train": "#5b8fb9", "push": "#2d5d7c"}
_FURTHER = ("#b08bbb", "#7a5c86", "#9a9a5c")


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Seconds of one recipe's iterations, each a mean over its iterations and runs."""

    recipe: Recipe
    phases: dict[str, float]
    whole: float
    tokens_per_s: float | None


def split_time(recipes: Sequence[Recipe]) -> list[TimeSplit]:
    """Recipes whose runs say how long an iteration took."""
    splits = []
    for recipe in recipes:
        steps = pd.concat([run.steps for run in recipe.runs])
        if WHOLE not in steps or steps[WHOLE].dropna().empty:
            continue
        phases = {
            key.removeprefix("time/").removesuffix("_s"): float(steps[key].mean())
            for key in steps
            if key.startswith("time/") and key.endswith("_s") and not key.endswith("_per_s")
        }
        phases = {name: s for name, s in phases.items() if name != "iteration" and s == s}
        whole = float(steps[WHOLE].mean())
        phases[_OTHER] = max(0.0, whole - sum(phases.values()))
        known = THROUGHPUT in steps and steps[THROUGHPUT].notna().any()
        tokens = float(steps[THROUGHPUT].mean()) if known else None
        splits.append(TimeSplit(recipe, phases, whole, tokens))
    return splits


def phases_of(splits: Sequence[TimeSplit]) -> list[str]:
    """All phases, in the order an iteration has them."""
    names = dict.fromkeys(name for split in splits for name in split.phases)
    return sorted(names, key=lambda name: name == _OTHER)


def draw_time(splits: Sequence[TimeSplit], folder: Path) -> Picture | None:
    """A bar per recipe, a piece per phase."""
    if not splits:
        return None
    figure, axes = new_figure(1.25 + 0.3 * len(splits))
    rows = range(len(splits))
    left = [0.0] * len(splits)
    further = iter(_FURTHER * 4)
    bars = []
    for phase in phases_of(splits):
        widths = [split.phases.get(phase, 0.0) for split in splits]
        colour = _COLOURS.get(phase) or ("#c9c9c9" if phase == _OTHER else next(further))
        bars.append(axes.barh(rows, widths, left=left, height=0.62, color=colour, label=phase))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(rows, [split.recipe.label for split in splits])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    describe(axes, "seconds per iteration (mean)", "", "Where the time goes")
    figure.legend(
        handles=bars,
        loc="outside lower left",
        ncols=len(bars),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.0,
        columnspacing=1.2,
    )
    return save(figure, folder, "time", "mean over the iterations of all seeds")

"""command=report: the page and the pictures of some runs."""

from collections.abc import Sequence
from pathlib import Path

from slime.config.schema import ConfigError
from slime.report.draw_curves import draw_health, draw_learning, draw_recipe
from slime.report.draw_intervals import draw_differences, draw_standings
from slime.report.draw_scale import draw_scaling
from slime.report.draw_time import TimeSplit, draw_time, split_time
from slime.report.final import FinalEvaluation, evaluate
from slime.report.findings import in_short, warnings
from slime.report.look import Picture
from slime.report.page import Pictures, Report, write_page
from slime.report.recipes import Recipe, differing_keys, group_runs
from slime.report.runs import find_runs
from slime.report.scale import Scaling, scale

PAGE = "index.html"
_NAMED = 3  # folders in the title


def write_report(runs: Sequence[Path], folder: Path) -> int:
    """Write folder/index.html and its PNGs.  -> the exit code

    runs: run directories, sweep directories, or folders of either.  What cannot be used is left
    out and said, on the terminal and on the page.  Raises ConfigError when there is nothing to use,
    or no way to write there.
    """
    found = find_runs(runs)
    grouped = group_runs(found.runs)
    recipes = grouped.recipes
    _make(folder)
    final, scaling, times = evaluate(recipes), scale(recipes), split_time(recipes)
    report = Report(
        title=_title(runs),
        in_short=in_short(final, scaling),
        warnings=warnings([run for recipe in recipes for run in recipe.runs], recipes),
        notes=[*found.notes, *grouped.notes, *final.notes],
        recipes=recipes,
        keys=differing_keys(recipes),
        final=final,
        scaling=scaling,
        times=times,
        pictures=_draw(recipes, final, scaling, times, folder),
    )
    write_page(report, folder / PAGE)
    for line in report.notes:
        print(f"note: {line}")
    for line in report.warnings:
        print(f"warning: {line}")
    for line in report.in_short:
        print(line)
    print(f"report of {len(report.runs)} runs, {len(recipes)} recipes: {folder / PAGE}")
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot write to {folder} ({reason}): pass report.folder=<a folder you may write to>"
        ) from error


def _draw(
    recipes: Sequence[Recipe],
    final: FinalEvaluation,
    scaling: Scaling,
    times: Sequence[TimeSplit],
    folder: Path,
) -> Pictures:
    health, idle = draw_health(recipes, folder)
    own = [draw_recipe(r, recipes, folder) for r in recipes if len(recipes) > 1 or len(r.runs) > 1]
    return Pictures(
        final=_drawn(draw_standings(final, folder), draw_differences(final, folder)),
        learning=draw_learning(recipes, folder),
        recipes=_drawn(*own),
        scaling=_drawn(draw_scaling(scaling, folder)),
        health=health,
        time=_drawn(draw_time(times, folder)),
        idle=idle,
    )


def _drawn(*pictures: Picture | None) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def _title(runs: Sequence[Path]) -> str:
    names = [path.resolve().name for path in runs]
    return ", ".join(names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")

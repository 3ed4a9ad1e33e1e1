"""index.html: everything in one file, nothing fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from slime.report.bootstrap import REPLICATES
from slime.report.draw_time import TimeSplit, phases_of
from slime.report.final import NO_DIFFERENCE, FinalEvaluation
from slime.report.intervals import Estimate
from slime.report.look import COLOURS, MINUS, Picture, colour_of
from slime.report.recipes import DifferingKey, Recipe
from slime.report.run import Run
from slime.report.scale import Scaling
from slime.report.sigmoid import Sigmoid

TEMPLATE = "page.html.j2"


@dataclass(frozen=True, slots=True)
class Pictures:
    """By section.  idle: what was left out because it is 0 throughout."""

    final: Sequence[Picture]
    learning: Sequence[Picture]
    recipes: Sequence[Picture]
    scaling: Sequence[Picture]
    health: Sequence[Picture]
    time: Sequence[Picture]
    idle: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page says."""

    title: str
    in_short: Sequence[str]
    warnings: Sequence[str]
    notes: Sequence[str]
    recipes: Sequence[Recipe]
    keys: Sequence[DifferingKey]
    final: FinalEvaluation
    scaling: Scaling
    times: Sequence[TimeSplit]
    pictures: Pictures

    @property
    def runs(self) -> list[Run]:
        return [run for recipe in self.recipes for run in recipe.runs]


def write_page(report: Report, path: Path) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "reward": _reward,
        "signed": _signed,
        "p": _p,
        "estimate": _estimate,
        "compute": _compute,
    }
    environment.tests["fitted"] = lambda result: isinstance(result, Sigmoid)
    text = environment.get_template(TEMPLATE).render(
        report=report,
        phases=phases_of(report.times),
        dots=[_dot(recipe.place) for recipe in report.recipes],
        replicates=REPLICATES,
        no_difference=NO_DIFFERENCE,
    )
    path.write_text(text, encoding="utf-8")


def _dot(place: int) -> str:
    """CSS of the dot before a recipe's name; a ring where the colours have come round again."""
    colour = colour_of(place)
    return f"background:{colour}" if place < len(COLOURS) else f"border:3px solid {colour}"


def _reward(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+z.3f}".replace("-", MINUS)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _estimate(estimate: Estimate) -> str:
    text = f"{estimate.value:z.2f} ({estimate.low:z.2f} to {estimate.high:z.2f})"
    return text.replace("-", MINUS)


def _compute(estimate: Estimate) -> str:
    """Three digits, with thousands apart."""
    return f"{_round(estimate.value)} ({_round(estimate.low)} to {_round(estimate.high)})"


def _round(value: float) -> str:
    digits = f"{value:.3g}"
    return f"{float(digits):,.0f}" if value >= 100 else digits

"""How every picture looks, and how it is written: a PNG with its legend, an SVG for the page.

The SVG's ink is `currentColor`, so that the page shows it on light and on dark.
"""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INK, PAPER = "#333333", "#ffffff"
MINUS = "\N{MINUS SIGN}"
# Okabe and Ito's colours, which stay apart for colour-blind readers; without the yellow, which
# is lost on white.  Marker and dash repeat what the colour says.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d46", "#808080")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
WIDTH = 4.6  # inches; about what a phone is wide, so that no picture is scaled far down
_LEGEND_ROW = 0.18  # inches
_CSS_DPI = 96
_DPI, _LOW_DPI, _MANY_LINES = 130, 100, 6  # many bands make a large PNG
_MARKED = 30  # points up to which each is marked

_STYLE = (
    "<style>svg{color:#333333}"
    "@media (prefers-color-scheme:dark){svg{color:#d6d9de}}"
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}</style>"
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that lies in the report's folder.  svg: a data URI, for the page."""

    name: str
    caption: str
    svg: str
    width: int
    height: int


def new_figure(height: float = 3.0, width: float = WIDTH) -> tuple[Any, Any]:
    """A figure and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=9, color=INK, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.spines[["left", "bottom"]].set_alpha(0.4)
    axes.grid(color=INK, alpha=0.14, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def describe(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.set_title(title, loc="left", fontsize=10, color=INK)


def look_of(place: int, points: int = 0) -> dict[str, Any]:
    """Colour, dash and marker of a recipe; markers only where there are few points."""
    marker = {"marker": MARKERS[place % len(MARKERS)], "markersize": 3.6, "markeredgewidth": 0}
    return {
        "color": colour_of(place),
        "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
        "linewidth": 1.5,
        **(marker if points <= _MARKED else {}),
    }


def colour_of(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def whole_numbers(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))


def save(figure: Any, folder: Path, name: str, caption: str, legend: Sequence[Any] = ()) -> Picture:
    """Write NAME.png, and give the same picture without its legend to the page, which has its own.

    legend: the lines it names; none for a picture that names its parts itself.
    """
    import matplotlib as mpl

    width, height = figure.get_size_inches()
    if legend:
        columns = 2 if max(len(line.get_label()) for line in legend) < 28 else 1
        shown = figure.legend(
            handles=legend,
            loc="outside lower left",
            ncols=columns,
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
        )
        figure.set_size_inches(width, height + _LEGEND_ROW * -(-len(legend) // columns))
        dpi = _DPI if len(legend) <= _MANY_LINES else _LOW_DPI
        figure.savefig(folder / f"{name}.png", facecolor=PAPER, dpi=dpi)
        shown.remove()
        figure.set_size_inches(width, height)
    else:
        figure.savefig(folder / f"{name}.png", facecolor=PAPER)
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return Picture(
        name, caption, _data_uri(text.getvalue()), round(width * _CSS_DPI), round(height * _CSS_DPI)
    )


def _data_uri(svg: str) -> str:
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(
        r"(\d\.\d\d)\d+", r"\1", svg
    )  # a hundredth of a point is enough, and half the size
    opening = svg.index(">") + 1
    svg = svg[:opening] + _STYLE + svg[opening:]
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()

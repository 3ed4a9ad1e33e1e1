"""weights.png: what each aggregation mode weighs, against the length of a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INK = "#333333"
COLOURS = ("#d1622b", "#2a78b5", "#3a923a", "#8a5fb0", "#777777")
MARKERS = ("o", "D", "s", "^", "v")


@dataclass(frozen=True, slots=True)
class ModePoints:
    """A point for each rollout with an active token."""

    name: str
    active_tokens: tuple[int, ...]
    weights: tuple[float, ...]  # of the whole rollout: summed over its active tokens


def draw_weights(modes: Sequence[ModePoints], picture: Path, title: str) -> None:
    """Write the picture; the first mode is the configured one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
    of_token, of_rollout = figure.subplots(1, 2)
    for place, mode in reversed(list(enumerate(modes))):  # the configured mode is drawn on top
        look = _look(place, mode.name)
        of_token.plot(
            mode.active_tokens,
            [w / m for w, m in zip(mode.weights, mode.active_tokens, strict=True)],
            **look,
        )
        of_rollout.plot(mode.active_tokens, mode.weights, **look)
    _describe(of_token, "weight of one active token")
    _describe(of_rollout, "weight of the whole rollout")
    handles, labels = of_token.get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="outside lower center", ncols=len(modes), frameon=False
    )
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=10)
    figure.savefig(picture)


def _look(place: int, name: str) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": MARKERS[place % len(MARKERS)],
        "color": COLOURS[place % len(COLOURS)],
        "markersize": 6 if place == 0 else 4.5,
        "alpha": 0.75,
        "markeredgewidth": 0,
        "label": f"{name} (configured)" if place == 0 else name,
    }


def _describe(axes: Any, what: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())  # tokens are counted, not 2 x 10^0
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yscale("log")
    axes.set_xlabel("active tokens of the rollout")
    axes.set_ylabel(what)
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)

"""Reward against compute, with ScaleRL's law where it could be fitted."""

from pathlib import Path

import numpy as np

from slime.report.curves import Axis
from slime.report.look import Picture, colour_of, describe, look_of, new_figure, save
from slime.report.scale import Scaling
from slime.report.sigmoid import Sigmoid

_BEYOND = 4.0  # the law is drawn up to so many times the compute of the data


def draw_scaling(scaling: Scaling, folder: Path) -> Picture | None:
    """Points, the law through them, dotted where it is extrapolated, and A with its interval."""
    fits = [f for f in scaling.fits if len(f.points.compute)]
    if not fits:
        return None
    figure, axes = new_figure(3.4)
    lines = []
    end = _BEYOND * max(float(f.points.compute.max()) for f in fits)
    positive = [
        f.points.compute[f.points.compute > 0].min() for f in fits if f.points.compute.any()
    ]
    begin = min(positive, default=1.0) / 2  # C = 0 is drawn here: a log axis has no 0
    for number, fit in enumerate(fits):
        colour = colour_of(fit.recipe.place)
        compute = np.maximum(fit.points.compute, begin)
        axes.plot(compute, fit.points.reward, ".", color=colour, alpha=0.3, markersize=4)
        look = look_of(fit.recipe.place) | {"marker": ""}
        if not isinstance(fit.result, Sigmoid):
            lines += axes.plot([], [], label=f"{fit.recipe.label} (not fitted)", **look)
            continue
        seen = np.geomspace(begin, fit.result.reach, 200)
        beyond = np.geomspace(fit.result.reach, end, 60)
        lines += axes.plot(seen, fit.result(seen), label=fit.recipe.label, **look)
        axes.plot(beyond, fit.result(beyond), color=colour, linestyle=":", linewidth=1.3)
        asymptote = fit.result.asymptote
        at = end * 1.25 * 1.18**number
        axes.plot((at, at), (asymptote.low, asymptote.high), color=colour, linewidth=2)
        axes.plot([at], [asymptote.value], "_", color=colour, markersize=8, markeredgewidth=2)
    axes.set_xscale("log")
    axes.grid(False, axis="x", which="minor")
    describe(axes, _axis_name(scaling.axis), scaling.reward_name, "Reward against compute")
    caption = (
        "dots: runs (the leftmost are before training); line: the fitted law, dotted beyond the "
        "data; right: A with its 95% interval"
    )
    return save(figure, folder, "scaling", caption, lines)


def _axis_name(axis: Axis) -> str:
    return f"{axis.value} so far (log)"

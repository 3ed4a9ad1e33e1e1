"""Final rewards and their differences, with intervals."""

from pathlib import Path

from slime.report.final import FinalEvaluation
from slime.report.look import INK, MARKERS, MINUS, Picture, colour_of, describe, new_figure, save

MOST_PAIRS = 28
_ROW = 0.27  # inches


def draw_standings(final: FinalEvaluation, folder: Path) -> Picture | None:
    """Mean and interval of each recipe, and each of its seeds."""
    shown = [s for s in final.standings if s.per_seed]
    if not shown:
        return None
    figure, axes = new_figure(1.0 + _ROW * len(shown))
    for row, standing in enumerate(reversed(shown)):
        colour = colour_of(standing.recipe.place)
        marker = MARKERS[standing.recipe.place % len(MARKERS)]
        if standing.interval:
            ends = (standing.interval.low, standing.interval.high)
            axes.plot(ends, (row, row), color=colour, linewidth=2, solid_capstyle="round")
        mean = sum(standing.per_seed) / len(standing.per_seed)
        axes.plot(standing.per_seed, [row] * len(standing.per_seed), "|", color=INK, alpha=0.6)
        axes.plot([mean], [row], color=colour, marker=marker, markersize=7, markeredgewidth=0)
    axes.set_yticks(range(len(shown)), [s.recipe.label for s in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.locator_params(axis="x", nbins=6)
    describe(axes, "mean greedy reward, held-out prompts", "", "After training")
    caption = "mark: mean; line: 95% interval; strokes: the seeds"
    return save(figure, folder, "final-rewards", caption)


def draw_differences(final: FinalEvaluation, folder: Path) -> Picture | None:
    """Every pair's difference; None for a single recipe, or when the pairs are too many."""
    pairs = final.tested
    if not 0 < len(pairs) <= MOST_PAIRS:
        return None
    figure, axes = new_figure(1.0 + _ROW * len(pairs))
    axes.axvline(0, color=INK, alpha=0.6, linewidth=1)
    for row, pair in enumerate(reversed(pairs)):
        assert pair.interval is not None
        ink = {"color": INK, "alpha": 0.55 if pair.interval.holds_zero else 1.0}
        axes.plot((pair.interval.low, pair.interval.high), (row, row), linewidth=2, **ink)
        axes.plot([pair.interval.estimate], [row], "o", markersize=5, **ink)
    labels = [f"{pair.first.label} {MINUS} {pair.second.label}" for pair in reversed(pairs)]
    axes.set_yticks(range(len(pairs)), labels, fontsize=8)
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.locator_params(axis="x", nbins=5)
    describe(axes, "difference of mean greedy reward", "", "Pairs")
    caption = "95% interval of each difference; grey: it holds zero, no difference shown"
    return save(figure, folder, "differences", caption)

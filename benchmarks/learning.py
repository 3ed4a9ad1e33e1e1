"""The main job's learning curves over seeds: a figure and the table in RESULTS.md.

    python benchmarks/learning.py docs/reward.png RUN_DIRECTORY...

Each run directory is one seed of one config.  Prints the table; draws every seed thin, their mean
thick.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slime.report.reward import HELD_OUT, SAMPLED, Curve, RewardCurves, read_curves


@dataclass(frozen=True)
class SeedResult:
    """One run."""

    seed: int
    curves: RewardCurves
    loop_seconds: float


def read_result(run_directory: Path) -> SeedResult:
    records = [json.loads(line) for line in (run_directory / "metrics.jsonl").open()]
    overrides = json.loads((run_directory / "run.json").read_text())["overrides"]
    seeds = [int(o.removeprefix("seed=")) for o in overrides if o.startswith("seed=")]
    return SeedResult(
        seed=seeds[0] if seeds else 0,
        curves=read_curves(run_directory / "metrics.jsonl"),
        loop_seconds=sum(r.get("time/iteration_s", 0.0) for r in records),
    )


def table(results: list[SeedResult]) -> str:
    rows = [
        "| seed | sampled reward, first iteration | last | first iteration above 0.5 | "
        "held-out greedy before | after | loop seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        sampled, held_out = result.curves.sampled, result.curves.held_out
        passed = next((x for x, y in zip(sampled.x, sampled.y, strict=True) if y > 0.5), None)
        rows.append(
            f"| {result.seed} | {sampled.y[0]:.3f} | {sampled.y[-1]:.3f} | {passed} | "
            f"{held_out.y[0]:.3f} | {held_out.y[-1]:.3f} | {result.loop_seconds:.0f} |"
        )
    return "\n".join(rows)


def mean_curve(curves: list[Curve]) -> Curve:
    return Curve(curves[0].x, tuple(fmean(ys) for ys in zip(*(c.y for c in curves), strict=True)))


def draw(results: list[SeedResult], picture: Path) -> None:
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, color, curves, style in (
        ("sampled rollouts, training prompts", SAMPLED, [r.curves.sampled for r in results], "-"),
        ("greedy answers, held-out prompts", HELD_OUT, [r.curves.held_out for r in results], "--"),
    ):
        for curve in curves:
            axes.plot(curve.x, curve.y, style, color=color, alpha=0.35, linewidth=1)
        mean = mean_curve(curves)
        label = f"{name} (mean of {len(results)} seeds)"
        axes.plot(mean.x, mean.y, style, color=color, linewidth=2.2, label=label)
    axes.set_xlabel("iterations trained")
    axes.set_ylabel("mean reward")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(picture)


def main() -> None:
    picture, *directories = map(Path, sys.argv[1:])
    results = sorted((read_result(d) for d in directories), key=lambda r: r.seed)
    draw(results, picture)
    print(table(results))


if __name__ == "__main__":
    main()

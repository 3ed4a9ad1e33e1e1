"""reward.png: did this run learn?  Sampled reward per iteration, held-out greedy beside it."""

import json
from dataclasses import dataclass
from pathlib import Path

INK, SAMPLED, HELD_OUT = "#333333", "#2a78b5", "#d1622b"


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (iterations trained, reward)."""

    x: tuple[int, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RewardCurves:
    """What metrics.jsonl says about reward."""

    sampled: Curve
    held_out: Curve


def read_curves(metrics: Path) -> RewardCurves:
    """Both curves of one run's metrics.jsonl.

    A sampled reward at iteration i was earned by weights trained i times; an evaluation names the
    iterations trained before it.
    """
    sampled: list[tuple[int, float]] = []
    held_out: list[tuple[int, float]] = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record.get("rollout/reward_mean") is not None:
            sampled.append((record["iteration"], record["rollout/reward_mean"]))
        if "evaluation/reward_mean" in record:
            held_out.append((record["iteration"], record["evaluation/reward_mean"]))
    return RewardCurves(_curve(sampled), _curve(held_out))


def draw_reward(metrics: Path, picture: Path, title: str) -> bool:
    """Write the picture; False, and no picture, when there is nothing to draw yet."""
    curves = read_curves(metrics)
    if not curves.sampled.x:
        return False
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot(
        curves.sampled.x,
        curves.sampled.y,
        color=SAMPLED,
        marker="o",
        markersize=3.5,
        label="sampled rollouts (training prompts)",
    )
    if curves.held_out.x:
        axes.plot(
            curves.held_out.x,
            curves.held_out.y,
            color=HELD_OUT,
            marker="D",
            linestyle="--",
            label="greedy answers (held-out prompts)",
        )
    axes.set_xlabel("iterations trained")
    axes.set_ylabel("mean reward")
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(*_limits(curves))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    figure.savefig(picture)
    return True


def _curve(points: list[tuple[int, float]]) -> Curve:
    return Curve(tuple(x for x, _ in points), tuple(y for _, y in points))


def _limits(curves: RewardCurves) -> tuple[float, float]:
    """0 to 1 for the usual rewards, wider where a task's rewards go further."""
    values = curves.sampled.y + curves.held_out.y
    return min(0.0, *values) - 0.02, max(1.0, *values) + 0.02

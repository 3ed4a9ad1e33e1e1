"""What a person sees while a run goes on: one line an iteration, and on a terminal a live bar."""

from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from slime.data.metrics import StepMetrics
from slime.tracking.records import RolloutMetrics, Times


@dataclass(frozen=True, slots=True)
class IterationReport:
    """One finished iteration."""

    iteration: int
    rollout: RolloutMetrics
    step: StepMetrics  # of the iteration's last optimizer step
    times: Times


class RunProgress:
    """Prints to stdout.  The live part (phase, bar, ETA) only shows on a terminal."""

    def __init__(self, iterations: int, console: Console | None = None, done: int = 0) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._iterations = iterations
        self._done_before = done
        self._seconds = 0.0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=iterations, completed=done, eta="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, name: str) -> None:
        """What is going on now."""
        self._bar.update(self._task, description=name)

    def note(self, text: str) -> None:
        """A line of its own: evaluations, where things are."""
        self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {text}", style="yellow", markup=False)

    def iteration(self, report: IterationReport) -> None:
        """One line, and the bar one further."""
        done = report.iteration + 1
        self._seconds += report.times.iteration_s
        each = self._seconds / (done - self._done_before)
        left = _clock(each * (self._iterations - done))
        self._console.print(_line(report, self._iterations, left), markup=False)
        self._bar.update(self._task, advance=1, eta=f"{left} left")


def _line(report: IterationReport, iterations: int, left: str) -> str:
    rollout, step, times = report.rollout, report.step, report.times
    width = len(str(iterations))
    return "  ".join(
        [
            f"iteration {report.iteration + 1:>{width}}/{iterations}",
            f"reward {_number(rollout.reward_mean, '.3f')}",
            f"length {_number(rollout.response_tokens_mean, '.1f')}",
            f"loss {_number(step.loss, '.3g')}",
            f"grad norm {_number(step.grad_norm, '.3g')}",
            f"{times.response_tokens_per_s:.0f} tokens/s",
            f"generate {times.generate_s:.1f}s train {times.train_s:.1f}s push {times.push_s:.1f}s",
            f"ETA {left}",
        ]
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"

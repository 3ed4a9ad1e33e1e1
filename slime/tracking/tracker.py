"""What every tracker takes: numbers with their x axis, and how the run ended."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from slime.config.schema.imported import describe


class RunState(Enum):
    """How a run ended."""

    finished = "finished"
    failed = "failed"
    interrupted = "interrupted"


@dataclass(frozen=True, slots=True)
class Point:
    """One number of one curve."""

    name: str
    value: float
    axis: str  # step for train/, iteration for the rest
    x: int


def points(record: dict[str, Any], iteration: int) -> Iterator[Point]:
    """The numbers of a metrics.jsonl record.  A bool is 0 or 1; null is no point."""
    for name, value in record.items():
        if "/" not in name or not isinstance(value, int | float):
            continue
        if name.startswith("train/"):
            yield Point(name, float(value), "step", record["step"])
        else:
            yield Point(name, float(value), "iteration", iteration)


class Tracker(Protocol):
    """Shows the metrics of one run; the library behind it may raise anything."""

    where: str | None  # a line for the person, if it takes one to know where to look
    run_id: str | None  # under which it goes on with this run, if it has one

    def write(self, points: list[Point]) -> None: ...

    def close(self, state: RunState) -> None: ...


class Guarded:
    """A tracker that cannot stop the run: it is off from its first failure on, with one warning.

    Nothing is lost: metrics.jsonl has every number.
    """

    def __init__(
        self, name: str, open_tracker: Callable[[], Tracker | None], warn: Callable[[str], None]
    ) -> None:
        self._name = name
        self._warn = warn
        self._has_failed = False
        self._tracker: Tracker | None = None
        try:
            self._tracker = open_tracker()
        except Exception as error:
            self._switch_off(error)

    @property
    def where(self) -> str | None:
        """None when it did not start, or there is none."""
        return self._tracker.where if self._tracker else None

    @property
    def run_id(self) -> str | None:
        return self._tracker.run_id if self._tracker else None

    def write(self, record: dict[str, Any], iteration: int) -> None:
        if self._tracker is None or self._has_failed:
            return
        try:
            self._tracker.write(list(points(record, iteration)))
        except Exception as error:
            self._switch_off(error)

    def close(self, state: RunState) -> None:
        """Also after a failure: it may hold files, connections and processes."""
        if self._tracker is None:
            return
        if self._has_failed:
            with suppress(Exception):
                self._tracker.close(state)
            return
        try:
            self._tracker.close(state)
        except Exception as error:
            self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._has_failed = True
        self._warn(
            f"tracking={self._name} failed and is off: {describe(error)}; the run goes on, and "
            "metrics.jsonl has every number"
        )

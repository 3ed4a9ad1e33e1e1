"""Ctrl-C, and SIGTERM as clusters send it: the run ends well, and within its time of grace."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import psutil

_ENDING_SECONDS = 5.0  # of the grace that are kept for ending the workers
_INTERRUPTED = 130  # exit code


class StopNow(KeyboardInterrupt):
    """A second interrupt, or the time of grace is over: end without saving more."""


class Stop:
    """Inside the block the first interrupt raises KeyboardInterrupt, or waits where one is held.

    A second one and the end of the grace raise StopNow, wherever that is; what waits for Ray gets a
    plain KeyboardInterrupt then, so ask `is_over`.  After that interrupts change nothing, and a
    process that has not ended when all of the grace is over is given up, with all it has started.
    """

    def __init__(self, grace_seconds: float, give_up: Callable[[], None] | None = None) -> None:
        """give_up: for tests, in the place of ending this process at once."""
        self._ending_seconds = min(_ENDING_SECONDS, grace_seconds / 2)
        self._patience_seconds = grace_seconds - self._ending_seconds
        self._give_up = give_up or _leave
        self._asked = False
        self._holds = 0
        self.is_over = False
        self._say: Callable[[str], None] = lambda _text: None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._interrupt)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._grace_is_over)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def tell(self, say: Callable[[str], None]) -> None:
        """What to call with a line for whoever interrupts and has to wait."""
        self._say = say

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is inside is done as a whole: a first interrupt waits for the next check()."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def check(self) -> None:
        """Raises KeyboardInterrupt if there was one that had to wait."""
        if self._asked:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        if self.is_over:
            return
        if self._asked:
            self._end_now()
        self._asked = True
        signal.setitimer(signal.ITIMER_REAL, self._patience_seconds)
        if not self._holds:
            raise KeyboardInterrupt
        self._say("stopping as soon as this is done (interrupt again to stop at once)")

    def _grace_is_over(self, *_: object) -> None:
        if self.is_over:
            self._give_up()
        else:
            self._end_now()

    def _end_now(self) -> None:
        self.is_over = True
        signal.setitimer(signal.ITIMER_REAL, self._ending_seconds)
        raise StopNow


def _leave() -> None:
    """With all that this process has started: some of Ray's would stay for another minute."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(_INTERRUPTED)

"""A thread for one piece of work that may outlast patience: it never keeps the process alive."""

import threading
from collections.abc import Callable
from typing import Self


class Background:
    """Runs `work` at once; what it raises, result() raises."""

    def __init__(self, work: "Callable[[Background], None]") -> None:
        """work gets this object, to see whether it is to end early."""
        self._cancelled = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def result(self, timeout_seconds: float | None = None) -> None:
        """Returns when the work is done.  Raises what it raised, and TimeoutError."""
        self._thread.join(timeout_seconds)
        if not self.has_ended:
            raise TimeoutError(f"not done within {timeout_seconds:g} seconds")
        if self._failure is not None:
            raise self._failure

    def end(self, patience_seconds: float, *, cancel: bool = False) -> None:
        """Wait so long at most, whatever comes of it; after that the work is to end early."""
        if cancel:
            self._cancelled.set()
        self._thread.join(patience_seconds)
        self._cancelled.set()

    def wait_for_cancel(self, seconds: float) -> bool:
        """For the work, while it has to wait: whether it is to end early."""
        return self._cancelled.wait(seconds)

    def _run(self, work: "Callable[[Self], None]") -> None:
        try:
            work(self)
        except BaseException as failure:
            self._failure = failure

"""Wall-clock seconds of the phases of an iteration."""

import time


class Clock:
    """Reads like a lap timer."""

    def __init__(self) -> None:
        self._start = self._lap = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap (or the start)."""
        now = time.perf_counter()
        seconds, self._lap = now - self._lap, now
        return seconds

    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

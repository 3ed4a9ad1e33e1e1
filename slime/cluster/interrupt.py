"""SIGTERM, what clusters send, as the interrupt that Ctrl-C is."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminate_like_an_interrupt() -> Iterator[None]:
    """Inside, SIGTERM raises KeyboardInterrupt too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

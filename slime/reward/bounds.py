"""What scoring one response may take of the machine, beside time: memory and output."""

import io
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

_MOST_PRINTED = 10_000  # characters of each of the two streams, for one response
_GIB = 1 << 30


def limit_memory(gib: float) -> None:
    """From here on this process gets so much more memory; who wants more has a MemoryError.

    No core is written when it dies.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])  # data and stack
    most = pages * resource.getpagesize() + int(gib * _GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextmanager
def limited_output() -> Iterator[None]:
    """Of what is printed inside only the beginning is passed on."""
    with redirect_stdout(_Beginning(sys.stdout)), redirect_stderr(_Beginning(sys.stderr)):
        yield


class _Beginning(io.TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left = _MOST_PRINTED

    def write(self, text: str) -> int:
        self._stream.write(text[: self._left])
        self._left -= min(len(text), self._left)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

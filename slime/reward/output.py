"""What a scoring process prints: through pipes, of which only the beginning is passed on.

Pipes and not Python's streams, because a function may write to the file descriptors themselves.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext

_MOST_PRINTED = 10_000  # bytes of each of the two streams, for one response
_CHUNK_BYTES, _CHUNKS = 1 << 16, 16  # no more at a time: what prints without end has a time limit
_STREAMS = (1, 2)

Writers = tuple[Connection, ...]  # the child's ends


class Printed:
    """The parent's side."""

    def __init__(self, context: SpawnContext) -> None:
        pipes = [context.Pipe(duplex=False) for _ in _STREAMS]
        self._readers = {reader: fd for (reader, _), fd in zip(pipes, _STREAMS, strict=True)}
        self.writers: Writers = tuple(writer for _, writer in pipes)
        for reader in self._readers:
            os.set_blocking(reader.fileno(), False)
        self.begin()

    def begin(self) -> None:
        """The next response may print as much again."""
        self._left = dict.fromkeys(_STREAMS, _MOST_PRINTED)

    def ends(self) -> list[Connection]:
        """Those from which something may still come."""
        return list(self._readers)

    def pass_on(self) -> None:
        """What is there now, as far as it is to be seen; the rest is dropped."""
        for reader, fd in list(self._readers.items()):
            for _ in range(_CHUNKS):
                try:
                    chunk = os.read(reader.fileno(), _CHUNK_BYTES)
                except BlockingIOError:
                    break
                if not chunk:
                    del self._readers[reader]
                    reader.close()
                    break
                self._show(fd, chunk)

    def _show(self, fd: int, chunk: bytes) -> None:
        shown = chunk[: self._left[fd]]
        self._left[fd] -= len(shown)
        if shown:
            with contextlib.suppress(OSError):  # nobody looks
                os.write(fd, shown)

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()


def print_to(writers: Writers) -> None:
    """In the child, from here on: file descriptors 1 and 2 are these."""
    for writer, fd in zip(writers, _STREAMS, strict=True):
        os.dup2(writer.fileno(), fd)
        writer.close()


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """Python's two streams for one response, which may close or replace them."""
    with _opened(1) as out, _opened(2) as err, redirect_stdout(out), redirect_stderr(err):
        yield


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[io.TextIOWrapper]:
    raw = open(fd, "wb", closefd=False)  # noqa: SIM115 (closed with the text around it)
    stream = io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError, ValueError):  # closed by the function, or the whole pipe
            stream.close()

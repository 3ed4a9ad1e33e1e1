"""Processes that stay: many calls, many process groups, one start.

Importing megatron-core takes seconds, forming process groups does not.
"""

import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

_PATIENCE_SECONDS = 300


class Crew:
    """`size` processes that make the same calls.  They start with the first one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: list[tuple[Any, Connection]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """function(rank, *arguments) in every process.  -> what each returned

        Raises AssertionError with the traceback of the first process that fails; the crew is then
        dismissed, because the others wait for it, and the next call starts another one.
        """
        if not self._members:
            self._start()
        job = pickle.dumps((function, arguments))
        for _, connection in self._members:
            connection.send_bytes(job)
        try:
            return self._answers()
        except BaseException:
            self.dismiss()
            raise

    def dismiss(self) -> None:
        for process, connection in self._members:
            process.kill()
            process.join()
            connection.close()
        self._members = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for rank in range(self.size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, theirs), daemon=True)
            process.start()
            theirs.close()
            self._members.append((process, ours))

    def _answers(self) -> list[Any]:
        waiting = {connection: rank for rank, (_, connection) in enumerate(self._members)}
        answers: dict[int, Any] = {}
        while waiting:
            ready = wait(list(waiting), timeout=_PATIENCE_SECONDS)
            assert ready, f"processes {sorted(waiting.values())} do not answer"
            for connection in ready:
                assert isinstance(connection, Connection)
                rank = waiting.pop(connection)
                answers[rank] = _read(rank, connection)
        return [answers[rank] for rank in range(self.size)]


def _read(rank: int, connection: Connection) -> Any:
    try:
        succeeded, value = pickle.loads(connection.recv_bytes())
    except EOFError:
        succeeded, value = False, "it ended without a word"
    assert succeeded, f"process {rank}:\n{value}"
    return value


def _serve(rank: int, connection: Connection) -> None:
    while True:
        try:
            function, arguments = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            answer = True, function(rank, *arguments)
        except BaseException:
            answer = False, traceback.format_exc()
        connection.send_bytes(pickle.dumps(answer))  # plain: send() would share tensors' memory

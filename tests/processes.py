"""A function in fresh processes, for tests of process groups and of process-wide state."""

import multiprocessing
import pickle
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from random import SystemRandom
from typing import Any

_RANDOM = SystemRandom()  # hypothesis seeds the other one, alike in all of pytest's processes


def run_processes(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """function(rank, *arguments) in `size` new processes.  -> what each returned

    The function must be importable, what goes in and out picklable.  Raises
    AssertionError with the traceback of the first process that fails, and ends the others.
    """
    context = multiprocessing.get_context("spawn")
    processes, results = [], {}
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_report, args=(sender, function, rank, arguments), daemon=True
        )
        process.start()
        sender.close()
        processes.append(process)
        results[receiver] = rank
    try:
        return _collect(results)
    finally:
        for process in processes:
            process.kill()
            process.join()


def free_port() -> int:
    """None of those that Linux or Ray choose for others, perhaps before a test comes to use it."""
    while True:
        port = _RANDOM.randrange(20_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _report(
    sender: Connection,
    function: Callable[..., Any],
    rank: int,
    arguments: tuple[Any, ...],
) -> None:
    try:
        answer = True, function(rank, *arguments)
    except BaseException:
        answer = False, traceback.format_exc()
    sender.send_bytes(pickle.dumps(answer))  # plain: send() would share tensors' memory


def _collect(results: dict[Connection, int]) -> list[Any]:
    returned: dict[int, Any] = {}
    while len(returned) < len(results):
        for receiver in wait([r for r in results if results[r] not in returned]):
            rank = results[receiver]
            try:
                succeeded, value = pickle.loads(receiver.recv_bytes())
            except EOFError:
                succeeded, value = False, "it ended without a word"
            assert succeeded, f"process {rank}:\n{value}"
            returned[rank] = value
    return [returned[rank] for rank in sorted(returned)]

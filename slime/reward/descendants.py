"""The processes that a scoring process has started: they end with it."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_ROUNDS = 3  # who starts processes faster than they are counted is left with those


def lead() -> None:
    """This process and all that it starts are a group, and its descendants stay that.

    Who was started by a process that has ended would else be a child of the system's first one.
    """
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_all(leader: int) -> None:
    """End the leader and what it has started, also what has left its group.

    leader: a process that is not reaped, else its number may be another's.
    """
    for _ in range(_ROUNDS):
        for pid in descendants(leader):
            _kill(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it was not a leader yet
        os.killpg(leader, signal.SIGKILL)
    _kill(leader)


def descendants(pid: int) -> list[int]:
    """The processes that were started by it, by those and so on; the deepest first."""
    parents = dict(_parents())
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found[::-1]


def _parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) of every one that runs, zombies left out."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError):
                state, parent, *_ = (
                    (folder / "stat").read_text("latin-1").rpartition(")")[2].split()
                )
                if state != "Z":
                    yield int(folder.name), int(parent)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)

"""A job in a process of its own: reads what to run from its standard input, ends with its parent.

python -m slime.job.alone
"""

import ctypes
import os
import pickle
import signal
import sys
from pathlib import Path

from slime.cluster.interrupt import terminate_like_an_interrupt
from slime.config.ended import Ended
from slime.config.job import how_it_ends
from slime.config.schema import Config
from slime.job.dispatch import run

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def main() -> int:
    """The exit code of the job; ended.json says it too, for a parent that is gone by then."""
    config, run_directory = pickle.load(sys.stdin.buffer)
    with terminate_like_an_interrupt():
        _end_with_parent()
        ended = how_it_ends(lambda: _run(config, run_directory))
    if ended.exit_code:
        ended.write(run_directory)
    return ended.exit_code


def _run(config: Config, run_directory: Path) -> Ended:
    return Ended(run(config, run_directory))


def _end_with_parent() -> None:
    """SIGTERM when the parent dies, which interrupts a run."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

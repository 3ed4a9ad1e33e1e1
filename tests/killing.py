"""Kills processes of a run at moments that its progress decides."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
from launching import Launched

VICTIMS = ("driver", "TrainActor", "EngineActor", "raylet")


@dataclass(frozen=True)
class Kill:
    """SIGKILL for one process, as soon as a launch has come so far."""

    victim: str
    moment: str
    has_come: Callable[[Path, float], bool]  # run directory, when the launch began

    def __str__(self) -> str:
        return f"{self.victim} {self.moment}"


def at_line(victim: str, line: int) -> Kill:
    """When metrics.jsonl has so many lines, the last of them of this launch."""

    def has_come(run: Path, began: float) -> bool:
        return lines(run) >= line and changed(run / "metrics.jsonl") > began

    return Kill(victim, f"at line {line}", has_come)


def while_saving(victim: str, line: int) -> Kill:
    """While the first checkpoint after that line is written: it has files, and no name yet.

    Or just after, where it has got its name between two looks.
    """
    reached: dict[float, float] = {}  # when, by when the launch began

    def has_come(run: Path, began: float) -> bool:
        if lines(run) < line:
            return False
        since, checkpoints = reached.setdefault(began, time.time()), run / "checkpoints"
        written = [*checkpoints.glob(".iteration-*/trainer/*"), *checkpoints.glob("iteration-*")]
        return any(changed(file) > since for file in written)

    return Kill(victim, f"while saving after line {line}", has_come)


def while_starting(victim: str, line: int) -> Kill:
    """As soon as it is there; the line is where the launch before may have come to."""
    return Kill(victim, f"while starting ({line})", lambda _run, _began: True)


MOMENTS = (at_line, while_saving, while_starting)


def random_kills(random: Random, number: int, last_line: int) -> list[Kill]:
    """In the order of their moments."""
    marks = sorted(random.randrange(1, last_line) for _ in range(number))
    return [random.choice(MOMENTS)(random.choice(VICTIMS), mark) for mark in marks]


def carry_out(kill: Kill, process: subprocess.Popen, run: Path) -> bool:
    """Wait for the moment, then kill.  -> False if the run has ended before"""
    began = psutil.Process(process.pid).create_time()
    while not (kill.has_come(run, began) and _kill(kill.victim, process)):
        if ends_soon(process):
            return False
    return True


def _kill(victim: str, process: subprocess.Popen) -> bool:
    if victim == "driver":
        os.kill(process.pid, signal.SIGKILL)
        return True
    for each in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name_of(each).startswith((victim, f"ray::{victim}")):
                each.kill()
                return True
    return False


def name_of(process: psutil.Process) -> str:
    """What its command line begins with: Ray writes there what a worker does."""
    command = process.cmdline()
    return Path(command[0]).name if command else ""


def changed(file: Path) -> float:
    """When; 0 for a file that is gone."""
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0


def ends_soon(process: subprocess.Popen) -> bool:
    """Within a hundredth of a second."""
    try:
        process.wait(0.01)
    except subprocess.TimeoutExpired:
        return False
    return True


def lines(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.is_file() else 0


def trained(done: Launched) -> list[dict]:
    """metrics.jsonl without what says how the run went, and not what it learned."""
    aside = ("time/", "recovery/")
    return [
        {name: value for name, value in record.items() if not name.startswith(aside)}
        for record in map(json.loads, (done.run_directory / "metrics.jsonl").open())
    ]

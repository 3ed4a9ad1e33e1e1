"""Kills processes of a run at moments that its progress decides."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
from launching import Launched, left_behind

VICTIMS = ("driver", "TrainActor", "EngineActor", "raylet")


@dataclass(frozen=True)
class Kill:
    """SIGKILL for one process, as soon as the run has come so far."""

    victim: str
    moment: str
    has_come: Callable[[Path], bool]

    def __str__(self) -> str:
        return f"{self.victim} {self.moment}"


def at_line(victim: str, line: int) -> Kill:
    """When metrics.jsonl has so many lines."""
    return Kill(victim, f"at line {line}", lambda run: lines(run) >= line)


def while_saving(victim: str, line: int) -> Kill:
    """While the first checkpoint after that line is written: it has files, and no name yet."""

    def is_saving(run: Path) -> bool:
        partial = (run / "checkpoints").glob(".iteration-*/trainer/*")
        return lines(run) >= line and next(partial, None) is not None

    return Kill(victim, f"while saving after line {line}", is_saving)


def random_kills(random: Random, number: int, last_line: int) -> list[Kill]:
    """In the order of their moments; every third one is during a save."""
    marks = sorted(random.randrange(last_line) for _ in range(number))
    return [
        random.choice([at_line, at_line, while_saving])(random.choice(VICTIMS), mark)
        for mark in marks
    ]


def carry_out(kill: Kill, process: subprocess.Popen, cwd: Path, run: Path) -> bool:
    """Wait for the moment, then kill.  -> False if the run has ended before"""
    while not kill.has_come(run):
        if process.poll() is not None:
            return False
    try:
        return _kill(kill.victim, process, cwd)
    except psutil.NoSuchProcess:
        return False


def _kill(victim: str, process: subprocess.Popen, cwd: Path) -> bool:
    if victim == "driver":
        os.kill(process.pid, signal.SIGKILL)
        return True
    for each in left_behind(cwd):
        if _name(each).startswith((victim, f"ray::{victim}")):
            each.kill()
            return True
    return False


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    return Path(command[0]).name if command else ""


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

"""Runs launch.py the way a user does: a process of its own, in a directory of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

LAUNCH = Path(__file__).parents[1] / "launch.py"

# Inherited by every process of a launch, so that those left behind can be told from others.
MARK = "SLIME_TEST_LAUNCHED_IN"

# Small enough for seconds, big enough that groups have some variance in their rewards.
TINY = ["model=tiny", "rollout.prompts_per_iteration=4", "rollout.samples_per_prompt=4"]


@dataclass(frozen=True)
class Launched:
    """A finished launch.py."""

    exit_code: int
    stdout: str
    stderr: str
    cwd: Path

    @property
    def run_directory(self) -> Path:
        [directory] = (self.cwd / "runs").iterdir()
        return directory

    def records(self, name: str = "metrics.jsonl") -> list[dict]:
        lines = (self.run_directory / name).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def steps(self) -> list[dict]:
        return [r for r in self.records() if "step" in r]

    def evaluations(self) -> list[dict]:
        return [r for r in self.records() if "evaluation/reward_mean" in r]


def start(cwd: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """The process, in a process group of its own, so that a test can interrupt all of it."""
    cwd.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(LAUNCH), *arguments],
        cwd=cwd,
        env=os.environ | environment | {MARK: str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, cwd: Path) -> Launched:
    stdout, stderr = process.communicate(timeout=400)
    return Launched(process.returncode, stdout, stderr, cwd)


def launch(cwd: Path, *arguments: str, **environment: str) -> Launched:
    return finish(start(cwd, *arguments, **environment), cwd)


def left_behind(cwd: Path) -> list[psutil.Process]:
    """Processes that the launches in `cwd` started, directly or not, and that are still there.

    Some of Ray's write over their environment when they give themselves a name.
    """
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == str(cwd) or process.cwd() == str(cwd.resolve())
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found

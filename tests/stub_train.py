"""A train() that takes no time, in every process that a launch starts: for tests of launchers.

As sitecustomize on PYTHONPATH: Python imports that by itself, before anything else.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

CRASHES, IS_KILLED, NOT_FINITE = 13, 99, 7  # seeds


def train(config, directory):
    """Ends as the seed says; evaluates to the learning rate."""
    (directory / "process").write_text(str(os.getpid()))
    record = {"iteration": 1, "evaluation/reward_mean": config.optimizer.learning_rate}
    (directory / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    if config.seed == CRASHES:
        raise RuntimeError("out of luck")
    if config.seed == IS_KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1 if config.seed == NOT_FINITE else 0


def on_path(folder: Path) -> str:
    """Make `folder` what PYTHONPATH needs to name.  -> PYTHONPATH"""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(Path(__file__).read_text())
    return str(folder)


if __name__ == "sitecustomize":
    stub = ModuleType("slime.train")
    stub.train = train
    sys.modules["slime.train"] = stub

"""A config that proved right -> what it asks for.  Everything heavy is imported here."""

import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

from slime.cluster.kept import environment, is_ray_worker, keep_ray
from slime.config.schema import Command, Config, ConfigError
from slime.config.warn import warn


def run(config: Config, run_directory: Path) -> int:
    """What config.command says, into `run_directory`.  -> the exit code"""
    match config.command:
        case Command.train | Command.rerun:
            from slime.memory.check import warnings as memory_warnings
            from slime.train import train

            warn(memory_warnings(config))
            return train(config, run_directory)
        case Command.check:
            from slime.check.check import check

            return check(config, run_directory)
        case Command.explain:
            from slime.check.explain import explain

            return explain(config, run_directory)
        case Command.recipes | Command.diff | Command.report | Command.plan:
            name = config.command.name
            raise ConfigError(f"command={name} starts no run: write it on the command line itself")


def run_in_sweep(config: Config, run_directory: Path) -> int:
    """The same for one job of several: the Ray it starts is there for the next one."""
    if is_ray_worker():  # Ray starts no Ray inside its own processes
        return run_alone(config, run_directory)
    keep_ray()
    _start_processes_as_usual()
    return run(config, run_directory)


def run_alone(config: Config, run_directory: Path) -> int:
    """In a process of its own (slime.job.alone), which ends with this one."""
    job = subprocess.run(
        [sys.executable, "-m", "slime.job.alone"],
        input=pickle.dumps((config, run_directory)),
        env=environment(),
        check=False,
    )
    return job.returncode


def _start_processes_as_usual() -> None:
    """joblib makes its own way of starting processes the default, and they do not know it."""
    if multiprocessing.get_start_method(allow_none=True) == "loky":
        multiprocessing.set_start_method("spawn", force=True)

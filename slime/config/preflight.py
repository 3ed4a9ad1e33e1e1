"""Validates a run, or every job of a sweep, before it writes a folder or imports torch."""

import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from slime.config.compose import without_hydra
from slime.config.errors import CONFIG_ERROR, report
from slime.config.overrides import read_command_line, read_composed
from slime.config.schema import Config, ConfigError
from slime.config.sweep import read_sweep, sweep_problems, sweep_table

Check = Callable[[Config], Iterable[str]]

_checks: list[Check] = []


def register_check(check: Check) -> None:
    """Have `check` look at every config that is right by itself, e.g. at the files it names.

    It yields a sentence for each problem, reads small files only and imports nothing heavy.
    """
    if check not in _checks:
        _checks.append(check)


class Preflight(Callback):
    """The callback that conf/config.yaml names."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with _leave_on_error():
            _check(read_composed(without_hydra(config), _as_written(config)))
            _make_folder("hydra.run.dir", config.hydra.run.dir, "run.json")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with _leave_on_error():
            if config.hydra.sweeper._target_.endswith(".BasicSweeper"):  # others have no job list
                swept = [f"{k}={v}" for k, v in (config.hydra.sweeper.params or {}).items()]
                loader = GlobalHydra.instance().config_loader()
                _check_sweep(loader, [*swept, *_as_written(config)])
            _make_folder("hydra.sweep.dir", config.hydra.sweep.dir, "*/run.json")


def _check(config: Config) -> Config:
    """The config itself.  Raises ConfigError with a line for each problem a check finds."""
    found = [line for check in _checks for line in check(config)]
    if found:
        raise ConfigError("\n".join(found))
    return config


def _check_sweep(loader: ConfigLoader, overrides: Sequence[str]) -> None:
    """Print every job with its fingerprint.  Raises ConfigError with a line for each problem."""
    jobs = read_sweep(loader, overrides, lambda *job: _check(read_command_line(*job)))
    print(sweep_table(jobs), flush=True)
    found = sweep_problems(jobs)
    if found:
        raise ConfigError("\n".join(found))


def _as_written(config: DictConfig) -> list[str]:
    """The overrides of the command line; reading them one by one would resolve their ${...}."""
    overrides = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


@contextmanager
def _leave_on_error() -> Iterator[None]:
    """Hydra makes warnings of a callback's exceptions and runs on; SystemExit gets through."""
    try:
        yield
    except Exception as error:
        if report(error):
            sys.exit(CONFIG_ERROR)
        traceback.print_exception(error)
        sys.exit(1)


def _make_folder(key: str, folder: str, record: str) -> None:
    """Raises ConfigError if the run cannot write there, or another one left its `record` there."""
    if any(Path(folder).glob(record)):
        raise ConfigError(f"{folder} already holds a run: pass {key}=<another folder>")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot write to {folder} ({reason}): pass {key}=<a folder you may write to>"
        ) from error

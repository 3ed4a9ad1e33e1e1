"""A run directory that was used: what is in it goes on, or it is refused."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from slime.config.diff import changed_values
from slime.config.ended import METRICS, RECORD, read_ended, read_json
from slime.config.fingerprint import contents, fingerprint, training_values
from slime.config.past_run import RESOLVED
from slime.config.recipe_file import load
from slime.config.schema import Command, Config, ConfigError
from slime.config.schema.checkpoint import NEVER

VALUES, CONTENTS = "values", "contents"  # in run.json
_CHECKPOINTS = "checkpoints/iteration-*/manifest.json"
_TRAIN = [command.name for command in Command if command.trains]


def is_run(folder: Path) -> bool:
    """Whether a run has written its config there."""
    return (folder / RECORD).is_file()


def goes_on(folder: Path, config: Config) -> bool:
    """Whether the run in `folder` goes on; False where there is none.

    One that died before there was anything to lose just starts again.
    Raises ConfigError for a run that cannot go on as this one, or is still going on.
    """
    if not is_run(folder):
        return False
    record, ended = read_json(folder / RECORD), read_ended(folder)
    other_place = "pass hydra.run.dir=<another folder>"
    if record.get("command") not in _TRAIN or not config.command.trains:
        raise ConfigError(f"{folder} already holds a run: {other_place}")
    if config.checkpoint.resume == NEVER:
        raise ConfigError(
            f"{folder} already holds a run: {other_place}, or leave out checkpoint.resume=never to "
            "go on with it"
        )
    if ended is not None and ended.exit_code == 0:
        raise ConfigError(f"{folder} already holds a run: {other_place}; it has finished")
    if has_checkpoint(folder):
        _refuse_another_start(folder, config)
    if has_checkpoint(folder) or _has_nothing(folder):
        _refuse_another(folder, record, config)
        return True
    raise ConfigError(f"{folder} already holds a run: {other_place}; it left no checkpoint")


def job_goes_on(folder: Path, config: Config) -> bool:
    """The same for a job of a sweep, which can make room for itself instead."""
    try:
        return has_checkpoint(folder) and goes_on(folder, config)
    except ConfigError:
        return False


def has_checkpoint(folder: Path) -> bool:
    """Whether the run in `folder` has left one, whole or not."""
    return any(folder.glob(_CHECKPOINTS))


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Nobody else runs in this folder inside the block, or until this process dies in it.

    Raises ConfigError when somebody does.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system may have no locks
            _lock(opened, folder)
        yield
    finally:
        os.close(opened)


def _lock(opened: int, folder: Path) -> None:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"{folder}: a run is going on there: wait for its end, or pass "
            "hydra.run.dir=<another folder>"
        ) from None


def _has_nothing(folder: Path) -> bool:
    """It died before its first record: it starts again, and nothing is lost."""
    metrics = folder / METRICS
    return not metrics.is_file() or metrics.stat().st_size == 0


def _refuse_another(folder: Path, record: dict[str, Any], config: Config) -> None:
    if record.get("fingerprint") == fingerprint(config):
        return
    values = training_values(config)
    changes = ", ".join(
        [
            *changed_values(record.get(VALUES, {}), values),
            *_changed_contents(record.get(CONTENTS, {}), contents(config), values),
        ]
    )
    raise ConfigError(
        f"{folder} holds a run of another config, which cannot go on as this one: {changes}; have "
        "these as they were, or pass hydra.run.dir=<another folder>"
    )


def _changed_contents(
    before: dict[str, Any], now: dict[str, str], values: dict[str, Any]
) -> Iterator[str]:
    for key, digest in now.items():
        if before.get(key, digest) != digest:
            yield f"what is in {key}={values.get(key)} has changed"


def _refuse_another_start(folder: Path, config: Config) -> None:
    """A run goes on from its newest checkpoint; who names another one expects another run."""
    if config.checkpoint.start_from is None:
        return
    here = config.checkpoint.resume
    if OmegaConf.select(load(folder / RESOLVED), "checkpoint.resume") != here:
        raise ConfigError(
            f"{folder} holds a run, which goes on from its newest checkpoint: leave out "
            f"checkpoint.resume={here}, or start a new run from there with hydra.run.dir=<another "
            "folder>"
        )

"""Where a run begins: with the starting model, with a checkpoint of its own, or another run's."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slime.checkpoint import FOLDER, Checkpoint, Origin, Position, newest, open_checkpoint
from slime.checkpoint.saved import TRAINER, all_of
from slime.checkpoint.write import abandon_all, begin, point_to, seal, set_aside
from slime.cluster.restarts import Restarts
from slime.config.schema import CheckpointConfig, ConfigError
from slime.tracking.past import Past

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a run begins: with the starting model, or where a checkpoint says."""

    run_directory: Path
    checkpoint: Checkpoint
    is_new: bool  # nothing has been reported yet
    restarts: Restarts

    @property
    def position(self) -> Position:
        return self.checkpoint.position

    @property
    def past(self) -> Past | None:
        """What has been reported of a run that goes on."""
        at = self.position
        return None if self.is_new else Past(at.iteration, at.lengths, at.tracker)


def find_beginning(config: CheckpointConfig, run_directory: Path, warn: Warn) -> Beginning:
    """The newest whole checkpoint of the run directory, which is made if there is none.

    So every run has one, from its first moment on; the first holds no tensors where the run begins
    with the starting model.  A line for each checkpoint that is damaged, and for each way in which
    that of another run does not fit.
    Raises ConfigError when none of them is whole, or another run's cannot be used.
    """
    folder = run_directory / FOLDER
    abandon_all(folder)
    is_new = not all_of(folder)
    found = _first(config, run_directory, folder, warn) if is_new else newest(folder, warn)
    if found is None:
        raise ConfigError(
            f"{folder} holds no checkpoint that is whole: pass hydra.run.dir=<another folder>"
        )
    for path in all_of(folder):
        if path == found.folder:
            break
        set_aside(path)
        point_to(found.folder)
    restarts = Restarts(found.position.engine_restarts, found.position.trainer_restarts, warn)
    return Beginning(run_directory, found, is_new, restarts)


def _first(config: CheckpointConfig, run_directory: Path, folder: Path, warn: Warn) -> Checkpoint:
    record = json.loads((run_directory / "run.json").read_text(encoding="utf-8"))
    origin = Origin(record["fingerprint"], record["values"])
    given = None if config.start_from is None else open_checkpoint(config.start_from, warn)
    if given is not None:
        _compare(given, origin, warn)
    at = Position() if given is None else _elsewhere(given.position)
    aside = begin(folder, at.iteration)
    if given is not None and given.trainer is not None:
        shutil.copytree(given.trainer, aside / TRAINER, copy_function=_linked)
    return Checkpoint(seal(aside, origin, at), origin, at)


def _elsewhere(at: Position) -> Position:
    """The same moment of training, with nothing reported yet."""
    return replace(at, lengths={}, tracker=None, engine_restarts=0, trainer_restarts=0)


def _compare(given: Checkpoint, origin: Origin, warn: Warn) -> None:
    changes = list(_changes(given.origin.values, origin.values))
    models = [change for change in changes if change.startswith("model.")]
    if models:
        raise ConfigError(
            f"checkpoint.resume: {given.folder} is of another model: {', '.join(models)}"
        )
    if changes:
        warn(f"{given.folder} was trained with other values: {', '.join(changes)}")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*before, *now])
    return [
        f"{key} {before.get(key, '-')} -> {now.get(key, '-')}"
        for key in keys
        if before.get(key, "-") != now.get(key, "-")
    ]


def _linked(source: str, target: str) -> None:
    """The same file under another name, where the file system can; files of checkpoints stay."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

"""Finding the checkpoint to go on from: the newest that is whole."""

from collections.abc import Callable
from pathlib import Path

from slime.checkpoint.saved import (
    FOLDER,
    MANIFEST,
    Checkpoint,
    DamagedError,
    all_of,
    check_files,
    read_manifest,
)
from slime.config.schema import ConfigError


def newest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint in a folder of them; a line for each newer one that is not."""
    for path in all_of(folder):
        try:
            return _whole(path)
        except DamagedError as damaged:
            warn(f"{path} is damaged ({damaged}): the one before it is looked at")
    return None


def open_checkpoint(name: str, warn: Callable[[str], None]) -> Checkpoint:
    """The checkpoint that checkpoint.resume names, or the newest of the run that it names.

    Raises ConfigError when there is none that is whole.
    """
    path = Path(name).expanduser().absolute()
    if (path / MANIFEST).is_file():
        try:
            return _whole(path)
        except DamagedError as damaged:
            raise ConfigError(f"checkpoint.resume: {path} is damaged: {damaged}") from damaged
    for folder in (path / FOLDER, path):
        if (found := newest(folder, warn)) is not None:
            return found
    raise ConfigError(f"checkpoint.resume: {path} holds no checkpoint that is whole")


def _whole(path: Path) -> Checkpoint:
    checkpoint, files = read_manifest(path)
    check_files(path, files)
    return checkpoint

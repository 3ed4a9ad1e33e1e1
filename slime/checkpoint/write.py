"""Writing a checkpoint: aside, to the disk, and only then under its name."""

import errno
import os
import shutil
from pathlib import Path

from slime.checkpoint.position import Position
from slime.checkpoint.saved import (
    LATEST,
    MANIFEST,
    TRAINER,
    Origin,
    all_of,
    files_of,
    iteration_of,
    manifest_text,
    name_of,
    sha256_of,
)


class NotSavedError(RuntimeError):
    """A checkpoint or the model could not be written; what was there before is as it was."""


def begin(folder: Path, iteration: int) -> Path:
    """A new folder aside, for the checkpoint after so many iterations.

    folder: that of the checkpoints.  Raises OSError where it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{name_of(iteration)}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    return aside


def trainer_folder(aside: Path) -> Path:
    """The empty folder in which the train workers write their part."""
    (aside / TRAINER).mkdir()
    return aside / TRAINER


def seal(aside: Path, origin: Origin, position: Position) -> Path:
    """Everything is written: make it last, then make it the newest.  -> its folder

    Raises OSError when the disk does not take it.
    """
    facts = {}
    for file in files_of(aside):
        _to_disk(file)
        facts[file.relative_to(aside).as_posix()] = {
            "bytes": file.stat().st_size,
            "sha256": sha256_of(file),
        }
    (aside / MANIFEST).write_text(manifest_text(origin, position, facts), encoding="utf-8")
    for path in (aside / MANIFEST, *(p for p in aside.rglob("*") if p.is_dir()), aside):
        _to_disk(path)
    target = aside.parent / name_of(position.iteration)
    aside.rename(target)
    _to_disk(target.parent)
    point_to(target)
    return target


def abandon(aside: Path) -> None:
    """Give back the room that an unfinished checkpoint takes."""
    shutil.rmtree(aside, ignore_errors=True)


def abandon_all(folder: Path) -> None:
    """The same for all that a run left which died while it saved."""
    for aside in folder.glob(".iteration-*"):
        abandon(aside)


def set_aside(path: Path) -> None:
    """One that is damaged: the run will come to the same iteration once more."""
    aside = path.with_name(f"damaged-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)


def prune(folder: Path, keep_last: int, keep_every: int) -> None:
    """Delete checkpoints but the newest keep_last, and those after every keep_every iterations.

    keep_every: 0 for none of them.
    """
    for path in all_of(folder)[keep_last:]:
        iteration = iteration_of(path)
        if keep_every and iteration and iteration % keep_every == 0:
            continue
        aside = path.with_name(f".{path.name}.old")  # a half deleted one is no checkpoint
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        abandon(aside)


def not_saved(folder: Path, failure: OSError) -> NotSavedError:
    """The line for a checkpoint that the disk did not take."""
    last = next((path.name for path in all_of(folder)), "none")
    if failure.errno == errno.ENOSPC:
        what = f"the disk of {folder} is full: make room (checkpoint.keep_last keeps fewer)"
    else:
        what = f"cannot write to {folder} ({failure.strerror or failure})"
    return NotSavedError(f"no checkpoint was saved, {what}; the newest one there is: {last}")


def point_to(target: Path) -> None:
    """`latest` names this checkpoint."""
    aside = target.parent / f".{LATEST}.{os.getpid()}"
    aside.write_text(f"{target.name}\n", encoding="utf-8")
    _to_disk(aside)
    aside.replace(target.parent / LATEST)
    _to_disk(target.parent)


def _to_disk(path: Path) -> None:
    """What a file holds, or a folder lists, survives a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

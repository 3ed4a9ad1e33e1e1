"""What a checkpoint is on disk, and where: the names, and the manifest that makes it whole.

<run>/checkpoints/
    latest                      the name of the newest
    iteration-000010/
        manifest.json           position, training values, size and sha256 of each file
        trainer/                what the train workers wrote; not in a run's first one
    .iteration-000015.4711      one that is being written, or was when the run died
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slime.checkpoint.position import Position
from slime.reading import read_json

FOLDER, LATEST, MANIFEST, TRAINER = "checkpoints", "latest", "manifest.json", "trainer"
FORMAT = 1


class DamagedError(ValueError):
    """A checkpoint that is not what its manifest says; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose checkpoint it is: what decides whether another run may go on with it."""

    fingerprint: str
    values: dict[str, Any]  # training values by dotted path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that is whole."""

    folder: Path
    origin: Origin
    position: Position

    @property
    def trainer(self) -> Path | None:
        """The folder that train workers go on from; None: from the starting model."""
        return self.folder / TRAINER if (self.folder / TRAINER).is_dir() else None


def name_of(iteration: int) -> str:
    return f"iteration-{iteration:06d}"


def iteration_of(folder: Path) -> int | None:
    """None for what is no checkpoint."""
    found = re.fullmatch(r"iteration-(\d{6,})", folder.name)
    return int(found[1]) if found else None


def all_of(folder: Path) -> list[Path]:
    """Every checkpoint in a folder of them, whole or not, the newest first."""
    found = [
        (number, path)
        for path in folder.glob("iteration-*")
        if (number := iteration_of(path)) is not None
    ]
    return [path for _, path in sorted(found, reverse=True)]


def manifest_text(origin: Origin, position: Position, files: dict[str, dict[str, Any]]) -> str:
    """files: path below the checkpoint's folder -> its facts."""
    content = {
        "format": FORMAT,
        "fingerprint": origin.fingerprint,
        "values": origin.values,
        "position": position.to_json(),
        "files": files,
    }
    return json.dumps(content | {"sha256": _hash_of(content)}, indent=1) + "\n"


def read_manifest(folder: Path) -> tuple[Checkpoint, dict[str, dict[str, Any]]]:
    """The checkpoint as its manifest describes it, and the facts of its files.

    Raises DamagedError for a manifest that is missing, not whole, or of another format.
    """
    try:
        content = read_json(folder / MANIFEST)
        told = content.pop("sha256")
        if told != _hash_of(content):
            raise DamagedError(f"{MANIFEST} is not as it was written")
        if content["format"] != FORMAT:
            raise DamagedError(f"its format is {content['format']}; this slime reads {FORMAT}")
        origin = Origin(content["fingerprint"], content["values"])
        if not isinstance(origin.fingerprint, str) or not isinstance(origin.values, dict):
            raise DamagedError(f"{MANIFEST} does not say whose checkpoint it is")
        position = Position.from_json(content["position"])
        return Checkpoint(folder, origin, position), content["files"]
    except FileNotFoundError as missing:
        raise DamagedError(f"it has no {MANIFEST}") from missing
    except DamagedError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as broken:
        raise DamagedError(f"{MANIFEST} cannot be read") from broken


def check_files(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Raises DamagedError unless every file has the size and the content that it was saved with."""
    try:
        for name, facts in files.items():
            _check_file(folder, name, facts["bytes"], facts["sha256"])
    except DamagedError:
        raise
    except OSError as unreadable:
        why = unreadable.strerror or unreadable
        raise DamagedError(f"{unreadable.filename} cannot be read: {why}") from unreadable
    except (TypeError, KeyError, AttributeError, ValueError) as broken:
        raise DamagedError(f"{MANIFEST} does not say what its files are") from broken


def _check_file(folder: Path, name: str, size: int, sha256: str) -> None:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DamagedError(f"{name} is outside of it")
    if not path.is_file():
        raise DamagedError(f"{name} is missing")
    there = path.stat().st_size
    if there != size:
        raise DamagedError(f"{name} has {there} bytes instead of {size}")
    if sha256_of(path) != sha256:
        raise DamagedError(f"{name} is not as it was written")


def files_of(folder: Path) -> Iterator[Path]:
    """Every file of a checkpoint but the manifest, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            yield path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

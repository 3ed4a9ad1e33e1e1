"""Keys that had another name: what recipes and old runs may still say, and what to write now."""

import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from slime.config.schema import ConfigError


@dataclass(frozen=True, slots=True)
class Renamed:
    """A key's old and new dotted path, and the version of slime that renamed it."""

    old: str
    new: str
    version: str


# Oldest first.  A name that stands on the left may never be a key again.
RENAMED = (
    Renamed("loss.clip_low", "loss.objective.clip_low", "0.2"),
    Renamed("loss.clip_high", "loss.objective.clip_high", "0.2"),
)

_told: set[tuple[Path, str]] = set()


def original_name(path: str) -> str:
    """The first name a key ever had: a new name alone changes no fingerprint."""
    for entry in reversed(RENAMED):
        if entry.new == path:
            path = entry.old
    return path


def current_name(path: str) -> str:
    """The name of today for any name that the key has had."""
    for entry in RENAMED:
        if entry.old == path:
            path = entry.new
    return path


def renamed_key(path: str) -> str | None:
    """The sentence for a key that is written by its old name; None for every other key."""
    entry = next((entry for entry in RENAMED if entry.old == path), None)
    if entry is None:
        return None
    return f"{path} was renamed in {entry.version}: write {current_name(path)}=..."


def with_current_names(values: DictConfig, file: Path) -> DictConfig:
    """The same values under the names of today, with a line on stderr for each old one.

    file: where they were written.  Raises ConfigError if a value is there under both names.
    """
    for entry in RENAMED:
        if not _holds(values, entry.old):
            continue
        if _holds(values, entry.new):
            raise ConfigError(f"{file}: {entry.old} and {entry.new} are one key: drop {entry.old}")
        _move(values, entry.old, entry.new)
        _tell_once(entry, file)
    return values


def _holds(values: DictConfig, path: str) -> bool:
    node, key = _parent(values, path)
    return node is not None and key in node.keys()  # noqa: SIM118 (a missing value is there too)


def _parent(values: DictConfig, path: str) -> tuple[DictConfig | None, str]:
    *names, key = path.split(".")
    node: object = values
    for name in names:
        node = node._get_node(name) if isinstance(node, DictConfig) else None
    return (node if isinstance(node, DictConfig) else None), key


def _move(values: DictConfig, old: str, new: str) -> None:
    node, key = _parent(values, old)
    assert node is not None
    value = node._get_node(key)
    with open_dict(values):
        del node[key]
        OmegaConf.update(values, new, value, merge=False)


def _tell_once(entry: Renamed, file: Path) -> None:
    if (file, entry.old) not in _told:
        _told.add((file, entry.old))
        print(
            f"config notice: {file}: {entry.old} was renamed in {entry.version}; "
            f"read as {current_name(entry.old)}",
            file=sys.stderr,
        )

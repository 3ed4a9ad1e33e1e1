"""Runs, as they lie on disk: found, named, and what could not be read said in a line each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slime.config.schema import ConfigError
from slime.report.run import Run
from slime.report.run_folder import METRICS, RESOLVED, RunFolder, read_run


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below some folders.  notes: a line for each thing that was left out, and why."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...]


def find_runs(places: Sequence[Path]) -> Found:
    """Every run in or below the folders.

    Raises ConfigError, a line for each folder that is not there, or one when no run is found.
    """
    absent = [f"runs: there is no folder {place}" for place in places if not place.is_dir()]
    if absent:
        raise ConfigError("\n".join(absent))
    directories = list(dict.fromkeys(d for place in places for d in _run_directories(place)))
    notes: list[str] = []
    runs = []
    for directory, name in zip(directories, _names(directories), strict=True):
        folder = RunFolder(directory, name)
        run = read_run(folder)
        notes += folder.notes
        if run is not None:
            runs.append(run)
    if not runs:
        looked = ", ".join(map(str, places))
        raise ConfigError(
            "\n".join([f"runs: nothing to report in {looked or 'no folder'}", *notes])
        )
    return Found(tuple(runs), tuple(notes))


def _run_directories(place: Path) -> list[Path]:
    place = place.resolve()
    below = {path.parent for name in (RESOLVED, METRICS) for path in place.rglob(name)}
    return sorted(below, key=_natural)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """2 before 10."""
    return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in path.parts]


def _names(directories: Sequence[Path]) -> list[str]:
    """Paths without what they all share; a single run keeps its folder's name."""
    if len(directories) == 1:
        return [directories[0].name]
    shared = 0
    for parts in zip(*(d.parts for d in directories), strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return ["/".join(d.parts[shared:]) or d.name for d in directories]

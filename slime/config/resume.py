"""sweep.resume=true: which job of a sweep has been trained before, and room for the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slime.config.ended import RECORD, read_ended, read_json
from slime.config.schema import Command, ConfigError

_TRAIN = [command.name for command in Command if command.trains]
ASIDE = "unfinished"  # in the folder of a sweep: what jobs that run again had left


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run directory that holds all of a training, and the evaluation of its last weights."""

    folder: Path
    evaluation: float | None


def finished_runs(sweep: Path) -> dict[str, FinishedRun]:
    """Fingerprint -> a training of it that went to its end, in the sweep's folder or beside it."""
    found: dict[str, FinishedRun] = {}
    for folder in _run_directories(sweep):
        ended, record = read_ended(folder), read_json(folder / RECORD)
        if ended and ended.exit_code == 0 and record.get("command") in _TRAIN:
            found.setdefault(record["fingerprint"], FinishedRun(folder, ended.evaluation))
    return found


def occupant(folder: Path) -> str | None:
    """Why a job cannot have this folder, of which the run there is not its own and finished."""
    record, ended = read_json(folder / RECORD), read_ended(folder)
    if not record or ended is None or ended.exit_code != 0:
        return None
    return (
        f"{folder} holds a finished run of another config (fingerprint {record['fingerprint']}): "
        "pass hydra.sweep.dir=<another folder>; sweep.resume looks at the folders beside it too"
    )


def make_room(folder: Path) -> None:
    """Move what an unfinished run left in `folder` to <sweep>/unfinished/: nothing is deleted.

    Raises ConfigError if a run is there that did finish.
    """
    if (problem := occupant(folder)) is not None:
        raise ConfigError(problem)
    if not (folder / RECORD).is_file():
        return
    aside = folder.parent / ASIDE
    aside.mkdir(exist_ok=True)
    times = sum(1 for _ in aside.glob(f"{folder.name}-*"))
    folder.rename(aside / f"{folder.name}-{times + 1}")
    folder.mkdir()


def _run_directories(sweep: Path) -> Iterator[Path]:
    """Jobs of this sweep first, then the single runs and the jobs of the sweeps beside it."""
    for places in (sweep.glob("*"), sweep.parent.glob("*"), sweep.parent.glob("*/*")):
        yield from sorted(path for path in places if (path / RECORD).is_file())

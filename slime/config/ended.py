"""How a job ended, as it left it in its run directory: in whatever process it ran, all can read it.

ended.json: {"exit_code": int, "evaluation": float | null}; a job that sweep.resume skipped has
"finished_in" too, the run directory that holds what it would have been.
"""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slime import reading

ENDED = "ended.json"
RECORD = "run.json"
METRICS = "metrics.jsonl"
EVALUATION = "evaluation/reward_mean"

CRASH, CONFIG_ERROR, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Ended:
    """What ended.json says.  evaluation: of the weights that a finished training ended with."""

    exit_code: int
    evaluation: float | None = None
    finished_in: str | None = None

    def write(self, folder: Path) -> None:
        """Where the disk does not take it there is none, and a line says so."""
        facts = {"exit_code": self.exit_code, "evaluation": self.evaluation}
        where = {} if self.finished_in is None else {"finished_in": self.finished_in}
        aside = folder / f".{ENDED}"
        try:
            aside.write_text(json.dumps(facts | where) + "\n", encoding="utf-8")
            aside.replace(folder / ENDED)
        except OSError as failure:
            aside.unlink(missing_ok=True)
            print(f"warning: {folder / ENDED}: {failure.strerror or failure}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class EndedJob:
    """One job of a command line and where it ran; `ended` is None if its process died."""

    number: int
    run_directory: Path
    ended: Ended | None

    @property
    def exit_code(self) -> int:
        return CRASH if self.ended is None else self.ended.exit_code

    @property
    def evaluation(self) -> float | None:
        return None if self.ended is None else self.ended.evaluation

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file that the job left; {} if it left none."""
        return read_json(self.run_directory / name)


def ended_job(number: int, run_directory: Path) -> EndedJob:
    return EndedJob(number, run_directory, read_ended(run_directory))


def read_ended(folder: Path) -> Ended | None:
    """None where no job has ended."""
    facts = read_json(folder / ENDED)
    if not isinstance(facts.get("exit_code"), int):
        return None
    return Ended(facts["exit_code"], facts.get("evaluation"), facts.get("finished_in"))


def read_json(file: Path) -> dict[str, Any]:
    """{} for a file that is not there, or not whole: its process may have died while writing."""
    try:
        values = reading.read_json(file)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def last_evaluation(folder: Path) -> float | None:
    """The last held-out mean reward in metrics.jsonl; None if there is none that is finite."""
    if not (folder / METRICS).is_file():
        return None
    lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    values = [json.loads(line).get(EVALUATION) for line in lines if EVALUATION in line]
    last = values[-1] if values else None
    return last if isinstance(last, int | float) and math.isfinite(last) else None

"""Runs, as they lie on disk: found, read, and what could not be read said in a line each."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from slime.config.schema import ConfigError
from slime.report.values import SEED, Value, flatten

RESOLVED, RECORD, ENDED = "resolved.yaml", "run.json", "ended.json"
METRICS, ANSWERS = "metrics.jsonl", "evaluations.jsonl"


@dataclass(frozen=True, slots=True)
class Origin:
    """How a run was asked for, and the code it was made with; None where run.json does not say."""

    choices: Mapping[str, str | None]  # config group -> what was chosen
    fingerprint: str | None
    commit: str | None
    dirty: bool | None
    versions: Mapping[str, str]
    time: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    steps: a row per iteration (index): `train/` averaged over its steps, `rollout/` and `time/`.
    evaluations: a row per evaluation, by iterations trained (index).
    answers: iteration, prompt_id, reward of each held-out answer.
    """

    name: str
    directory: Path
    values: Mapping[str, Value]
    origin: Origin
    steps: pd.DataFrame
    evaluations: pd.DataFrame
    answers: pd.DataFrame
    exit_code: int | None  # of ended.json; None without one

    @property
    def seed(self) -> Value:
        return self.values.get(SEED)

    @property
    def recipe(self) -> str | None:
        recipe = self.values.get("recipe")
        return None if recipe is None else str(recipe)

    @property
    def iterations_trained(self) -> int:
        return int(self.steps.index[-1]) + 1 if len(self.steps) else 0

    @property
    def is_finished(self) -> bool:
        """Trained to the end, and evaluated there if it was to be evaluated at all."""
        planned = self.values.get("iterations")
        if not isinstance(planned, int) or self.iterations_trained < planned:
            return False
        return planned in self.evaluations.index or self.values.get("evaluation.prompts") == 0

    @property
    def state(self) -> str:
        """finished, or how far it came."""
        if self.is_finished:
            return "finished"
        code = "" if self.exit_code is None else f", exit code {self.exit_code}"
        return f"{self.iterations_trained} of {self.values.get('iterations')} iterations{code}"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below some folders.  notes: a line for each thing that was left out, and why."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Reader:
    """Reads one run, and keeps a note of every line it could not read."""

    directory: Path
    name: str
    notes: list[str] = field(default_factory=list)

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.directory / name
        if not path.is_file():
            return []
        records, broken = [], 0
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                broken += 1
                continue
            if isinstance(record, dict):
                records.append(record)
        if broken:
            self.notes.append(f"{self.name}: {broken} broken line(s) of {name} left out")
        return records

    def record(self, name: str) -> dict[str, Any]:
        path = self.directory / name
        if not path.is_file():
            return {}
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            self.notes.append(f"{self.name}: {name} is not JSON")
            return {}
        return record if isinstance(record, dict) else {}


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
        reader = _Reader(directory, name)
        run = _read(reader)
        notes += reader.notes
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


def _read(reader: _Reader) -> Run | None:
    """One run; None, and a note, when there is nothing to draw."""
    name, directory = reader.name, reader.directory
    values = _values(reader)
    if values is None:
        return None
    command = values.get("command", "train")
    if command != "train":
        reader.notes.append(f"{name}: left out, it is a command={command}")
        return None
    records = reader.lines(METRICS)
    steps, evaluations = _steps(records), _evaluations(records)
    if steps.empty and evaluations.empty:
        reader.notes.append(f"{name}: left out, it has no metrics yet")
        return None
    return Run(
        name=name,
        directory=directory,
        values=values,
        origin=_origin(reader.record(RECORD)),
        steps=steps,
        evaluations=evaluations,
        answers=_answers(reader.lines(ANSWERS)),
        exit_code=reader.record(ENDED).get("exit_code"),
    )


def _values(reader: _Reader) -> dict[str, Value] | None:
    path = reader.directory / RESOLVED
    if not path.is_file():
        reader.notes.append(f"{reader.name}: left out, it has no {RESOLVED}")
        return None
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        tree = None
    if not isinstance(tree, dict):
        reader.notes.append(f"{reader.name}: left out, its {RESOLVED} cannot be read")
        return None
    return flatten(tree)


def _origin(record: Mapping[str, Any]) -> Origin:
    versions = record.get("versions") or {}
    return Origin(
        choices=record.get("choices") or {},
        fingerprint=record.get("fingerprint"),
        commit=record.get("commit"),
        dirty=record.get("dirty"),
        versions={**versions, "python": record["python"]} if "python" in record else versions,
        time=str(record.get("time", "")),
    )


def _steps(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = _numbers(r for r in records if "step" in r and "iteration" in r)
    if frame.empty:
        return frame
    frame = frame.drop_duplicates("step", keep="last")  # a step that was done again
    return frame.drop(columns="step").groupby("iteration").mean()  # nulls do not count


def _evaluations(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = _numbers(r for r in records if "evaluation/reward_mean" in r and "iteration" in r)
    if frame.empty:
        return frame
    return frame.drop_duplicates("iteration", keep="last").set_index("iteration").sort_index()


def _answers(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns = ["iteration", "prompt_id", "reward"]
    frame = pd.DataFrame([[r.get(c) for c in columns] for r in records], columns=columns)
    frame["reward"] = pd.to_numeric(frame["reward"], errors="coerce")
    return frame.dropna().drop_duplicates(["iteration", "prompt_id"], keep="last")


def _numbers(records: Iterator[Mapping[str, Any]]) -> pd.DataFrame:
    """A column per key; what is no number is nan."""
    frame = pd.DataFrame(list(records))
    numbers = frame.apply(pd.to_numeric, errors="coerce").astype(float)
    return numbers.replace([float("inf"), float("-inf")], float("nan"))

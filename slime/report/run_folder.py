"""One run's folder, read: what is broken in it is noted in a line and left out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from slime.reading import read_json, read_yaml_text
from slime.report.run import Origin, Run
from slime.report.values import Value, flatten

RESOLVED, RECORD, ENDED = "resolved.yaml", "run.json", "ended.json"
METRICS, ANSWERS = "metrics.jsonl", "evaluations.jsonl"


@dataclass(slots=True)
class RunFolder:
    """Where a run lies, and a note of everything in it that could not be read."""

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
            except (ValueError, RecursionError):
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
            record = read_json(path)
        except (OSError, ValueError):
            self.notes.append(f"{self.name}: {name} is not JSON")
            return {}
        return record if isinstance(record, dict) else {}


def read_run(folder: RunFolder) -> Run | None:
    """One run; None, and a note, when there is nothing to draw."""
    name, directory = folder.name, folder.directory
    values = _values(folder)
    if values is None:
        return None
    command = values.get("command", "train")
    if command != "train":
        folder.notes.append(f"{name}: left out, it is a command={command}")
        return None
    records = folder.lines(METRICS)
    steps, evaluations = _steps(records), _evaluations(records)
    if steps.empty and evaluations.empty:
        folder.notes.append(f"{name}: left out, it has no metrics yet")
        return None
    return Run(
        name=name,
        directory=directory,
        values=values,
        origin=_origin(folder.record(RECORD)),
        steps=steps,
        evaluations=evaluations,
        answers=_answers(folder.lines(ANSWERS)),
        exit_code=folder.record(ENDED).get("exit_code"),
    )


def _values(folder: RunFolder) -> dict[str, Value] | None:
    path = folder.directory / RESOLVED
    if not path.is_file():
        folder.notes.append(f"{folder.name}: left out, it has no {RESOLVED}")
        return None
    try:
        tree = yaml.safe_load(read_yaml_text(path))
    except (yaml.YAMLError, OSError, ValueError):
        tree = None
    if not isinstance(tree, dict):
        folder.notes.append(f"{folder.name}: left out, its {RESOLVED} cannot be read")
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

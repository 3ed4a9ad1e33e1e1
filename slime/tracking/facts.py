"""What trackers say about a run beside its curves, read from its own directory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The values and the origin of one run."""

    directory: Path
    name: str  # that of the run directory; under that of the sweep, if the run is a job of one
    sweep: str | None
    config: dict[str, Any]  # nested, every value resolved
    origin: dict[str, str]  # fingerprint, recipe, commit, ...: what runs are filtered by

    @property
    def flat_config(self) -> dict[str, Value]:
        """loss.kl.coefficient -> 0.001 and so on."""
        return dict(_flat("", self.config))


def read_facts(run_directory: Path) -> RunFacts:
    """From resolved.yaml and run.json, which hold no secrets.  Raises OSError without them."""
    record = json.loads((run_directory / "run.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((run_directory / "resolved.yaml").read_text(encoding="utf-8"))
    directory = run_directory.absolute()
    sweep = directory.parent.name if _is_job(directory) else None
    return RunFacts(
        directory=directory,
        name=f"{sweep}/{directory.name}" if sweep else directory.name,
        sweep=sweep,
        config=config,
        origin=dict(_origin(record, sweep)),
    )


def _is_job(directory: Path) -> bool:
    """Jobs are numbered; some sweepers leave no multirun.yaml, and some users rename jobs."""
    return directory.name.isdigit() or (directory.parent / "multirun.yaml").exists()


def _origin(record: dict[str, Any], sweep: str | None) -> Iterator[tuple[str, str]]:
    yield "fingerprint", record["fingerprint"]
    yield "recipe", record["recipe"] or "none"
    if record["commit"]:
        yield "commit", record["commit"]
        yield "dirty", str(record["dirty"]).lower()
    if sweep:
        yield "sweep", sweep


def _flat(prefix: str, node: dict[str, Any]) -> Iterator[tuple[str, Value]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        elif isinstance(value, list):
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)
        else:
            yield f"{prefix}{key}", value

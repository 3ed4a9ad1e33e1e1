"""A run directory as a run finds it when it starts."""

import json
from pathlib import Path

import yaml

CONFIG = {
    "recipe": "dapo/v1",
    "seed": 3,
    "loss": {"aggregation": "constant", "divisor": 40960.0, "mask_truncated": False},
    "rollout": {"save": None, "engine": {"name": "local"}},
    "task": {"stop_tokens": ["\n", "é"]},
}
ORIGIN = {
    "fingerprint": "0123456789ab",
    "recipe": "dapo/v1",
    "commit": "f" * 40,
    "dirty": False,
}


def run_directory(parent: Path, name: str = "20260101-120000", **origin) -> Path:
    directory = parent / name
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(ORIGIN | origin))
    (directory / "resolved.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True))
    return directory


def job_directory(parent: Path) -> Path:
    """The third job of a sweep."""
    return run_directory(parent / "sweep-7", "2")

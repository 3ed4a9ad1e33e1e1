"""What it takes to run a run again: the values, where they came from, and the code."""

import dataclasses
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from slime.config.groups import BY_NAME, RECIPE
from slime.config.schema import Config, Node
from slime.config.schema.base import NO_NEUTRAL

# What decides, beside our own code, which numbers come out.
PACKAGES = (
    "torch",
    "megatron-core",
    "ray",
    "transformers",
    "hydra-core",
    "omegaconf",
    "numpy",
    "safetensors",
)
CHECKOUT = Path(__file__).parents[2]


def fingerprint(config: Config) -> str:
    """12 hex digits: equal for equal values, whichever recipe or overrides they came from.

    Values that cannot change what is learned (trains=False) do not count.
    """
    text = json.dumps(_training_values(config), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write(config: Config) -> Path:
    """Write resolved.yaml and run.json of the job that Hydra is running.  -> its run directory"""
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    choices = {group: hydra.runtime.choices[group] for group in (*BY_NAME, RECIPE)}
    record = run_record(config, overrides=list(hydra.overrides.task), choices=choices)
    resolved = OmegaConf.to_yaml(OmegaConf.structured(config))
    (directory / "resolved.yaml").write_text(resolved, encoding="utf-8")
    (directory / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return directory


def run_record(
    config: Config, *, overrides: Sequence[str], choices: Mapping[str, str | None]
) -> dict[str, Any]:
    """What run.json holds.  commit and dirty are null when the code is in no git checkout."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain")
    return {
        "fingerprint": fingerprint(config),
        "recipe": config.recipe,
        "overrides": list(overrides),
        "choices": dict(choices),
        "argv": sys.argv,
        "commit": commit,
        "dirty": None if status is None else bool(status),
        "versions": {package: _version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _training_values(node: Node) -> dict[str, Any]:
    fields = dataclasses.fields(node)  # type: ignore[arg-type]
    return {
        f.name: _plain(getattr(node, f.name), f.type)
        for f in fields
        if f.metadata.get("trains", True) and not _is_neutral(f, getattr(node, f.name))
    }


def _is_neutral(field: dataclasses.Field[Any], value: object) -> bool:
    """Whether training is what it was before the key existed."""
    neutral = field.metadata.get("neutral", NO_NEUTRAL)
    if neutral is NO_NEUTRAL:
        return False
    return bool(value == (neutral() if isinstance(neutral, type) else neutral))


def _plain(value: Any, declared: Any) -> Any:
    if isinstance(value, Node):
        return _training_values(value)
    if isinstance(value, Enum):
        return value.name
    return float(value) if declared is float else value  # 40960 and 40960.0 train the same


def _git(*arguments: str) -> str | None:
    """What git says about the checkout this code is in; None if it is in none."""
    if not (CHECKOUT / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "-C", str(CHECKOUT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

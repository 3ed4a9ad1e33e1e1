"""What it takes to run a run again: the values, where they came from, and the code."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from slime.config.ended import read_json
from slime.config.fingerprint import contents, fingerprint, training_values
from slime.config.groups import BY_NAME, RECIPE
from slime.config.past_run import PAST_RUN
from slime.config.schema import Config

# What decides which numbers come out; slime's own number tells which keys a run knew.
PACKAGES = (
    "slime",
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


def write(config: Config) -> Path:
    """Write resolved.yaml and run.json of the job that Hydra is running.  -> its run directory"""
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    choices = {group: hydra.runtime.choices[group] for group in BY_NAME} | {RECIPE: config.recipe}
    overrides = [written for written in hydra.overrides.task if written != PAST_RUN]
    record = run_record(config, overrides=overrides, choices=choices)
    before = read_json(directory / "run.json")
    if before:  # the run goes on
        record |= {"time": before["time"], "resumed": [*before.get("resumed", []), record["time"]]}
    resolved = OmegaConf.to_yaml(OmegaConf.structured(config))
    _write_whole(directory / "resolved.yaml", resolved)
    _write_whole(directory / "run.json", json.dumps(record, indent=2) + "\n")
    return directory


def _write_whole(file: Path, text: str) -> None:
    """A run that dies here leaves what was there before."""
    aside = file.with_name(f".{file.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)


def run_record(
    config: Config, *, overrides: Sequence[str], choices: Mapping[str, str | None]
) -> dict[str, Any]:
    """What run.json holds."""
    return {
        "fingerprint": fingerprint(config),
        "command": config.command.name,
        "values": training_values(config),
        "contents": contents(config),
        "recipe": config.recipe,
        "overrides": list(overrides),
        "choices": dict(choices),
        "argv": sys.argv,
        "directory": str(Path.cwd()),  # what relative paths in the config are relative to
        **code_record(),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def code_record() -> dict[str, Any]:
    """Which code runs.  commit and dirty are null when it is in no git checkout."""
    status = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "versions": {package: _version(package) for package in PACKAGES},
        "python": platform.python_version(),
    }


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
    from importlib.metadata import PackageNotFoundError, version  # slow, and only a run needs it

    try:
        return version(package)
    except PackageNotFoundError:
        return None

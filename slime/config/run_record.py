"""run.json of a past run, as far as another run is made from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slime.config.groups import RECIPE
from slime.config.schema import ConfigError
from slime.reading import read_json

RECORD = "run.json"

# None stands for a text or null.
_WRITTEN: dict[str, Any] = {
    "choices": {"": None},
    RECIPE: None,
    "fingerprint": "",
    "directory": "",
    "versions": {"": None},
    "python": None,
    "commit": None,
}


def read_record(file: Path) -> dict[str, Any]:
    """Raises ConfigError for what cannot be read, or is not what a run writes."""
    try:
        record = read_json(file)
        wrong = _wrong_in(record)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
    if wrong is not None:
        raise ConfigError(f"{file}: cannot be read: {wrong}")
    checked: dict[str, Any] = record
    return checked


def _wrong_in(record: Any) -> str | None:
    """The first thing in run.json that no run has written."""
    if not isinstance(record, dict):
        return "it is no mapping"
    for name, example in _WRITTEN.items():
        if record.get(name) is not None and not _is_like(record[name], example):
            return f"{name!r} is not what a run writes there"
    if RECIPE not in record or None in (record.get("choices"), record.get("fingerprint")):
        return "it names no choices, recipe or fingerprint"
    return None


def _is_like(value: object, example: object) -> bool:
    if isinstance(example, dict):
        [inner] = example.values()
        return isinstance(value, dict) and all(_is_like(v, inner) for v in value.values())
    return isinstance(value, str) or (example is None and value is None)


def slime_version(record: Mapping[str, Any]) -> str | None:
    """Of the slime that made the run, as far as run.json says."""
    version = (record.get("versions") or {}).get("slime")
    return version if isinstance(version, str) else None

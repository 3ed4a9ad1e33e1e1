"""config.json of one Hugging Face folder, read field by field with errors that name both."""

import math
from pathlib import Path
from typing import Any

from slime.config.schema import ConfigError
from slime.reading import read_json


class ConfigJson:
    """Raises ConfigError when the file is missing or is no JSON object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "config.json"
        if not folder.is_dir():
            raise ConfigError(f"model.path: {folder} is not a folder")
        if not path.is_file():
            raise ConfigError(
                f"model.path: {folder} has no config.json; give a Hugging Face model folder"
            )
        try:
            values = read_json(path)
        except (OSError, ValueError) as broken:
            reason = str(broken).splitlines()[0]
            raise ConfigError(f"model.path: {path} is not readable JSON: {reason}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"model.path: {path} must hold a JSON object")
        self.values: dict[str, Any] = values

    def error(self, what: str) -> ConfigError:
        return ConfigError(f"model.path: {self.folder}/config.json: {what}")

    def count(self, field: str, default: int | None = None) -> int:
        value = self.values.get(field)
        if value is None:
            value = default
        return self.integer(field, value)

    def integer(self, field: str, value: object) -> int:
        if value is None:
            raise self.error(f"{field} is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(f"{field} must be an integer >= 1, got {value!r}")
        return value

    def number(self, field: str) -> float:
        return self.positive(field, self.values.get(field))

    def positive(self, field: str, value: object) -> float:
        if value is None:
            raise self.error(f"{field} is missing")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(f"{field} must be a number, got {value!r}")
        if not (math.isfinite(value) and value > 0):
            raise self.error(f"{field} must be a finite number > 0, got {value!r}")
        return float(value)

    def flag(self, field: str) -> bool:
        """False when absent, as in all families."""
        value = self.values.get(field) or False
        if not isinstance(value, bool):
            raise self.error(f"{field} must be true or false, got {value!r}")
        return value

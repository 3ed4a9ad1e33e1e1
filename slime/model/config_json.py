"""config.json of one Hugging Face folder, read field by field with errors that name both."""

from pathlib import Path
from typing import Any

from slime.config.schema import ConfigError
from slime.reading import read_json

# Beyond what any model has, and little enough to compute with: sizes are counted up to, and
# numbers end in float32.
_MOST = 2**31 - 1
_SMALLEST, _LARGEST = 1e-30, 1e30


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

    def wrong(self, field: str, wanted: str, value: object) -> ConfigError:
        return self.error(f"{field} must be {wanted}, got {value!r:.60}")

    def count(self, field: str, default: int | None = None, most: int = _MOST) -> int:
        value = self.values.get(field)
        if value is None:
            value = default
        return self.integer(field, value, most)

    def integer(self, field: str, value: object, most: int = _MOST) -> int:
        if value is None:
            raise self.error(f"{field} is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(field, "an integer >= 1", value)
        if value > most:
            raise self.wrong(field, f"at most {most}", value)
        return value

    def number(self, field: str) -> float:
        """transformers takes no integer for it."""
        value = self.values.get(field)
        if isinstance(value, int):
            raise self.wrong(field, "a number with a decimal point", value)
        return self.positive(field, value)

    def positive(self, field: str, value: object) -> float:
        if value is None:
            raise self.error(f"{field} is missing")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(field, "a number", value)
        if not 0 < value < float("inf"):
            raise self.wrong(field, "a finite number > 0", value)
        if not _SMALLEST <= value <= _LARGEST:
            raise self.wrong(field, f"between {_SMALLEST} and {_LARGEST}", value)
        return float(value)

    def flag(self, field: str) -> bool:
        """False when absent, as in all families; transformers takes no null for it."""
        value = self.values.get(field, False)
        if not isinstance(value, bool):
            raise self.wrong(field, "true or false", value)
        return value

    def names(self, field: str) -> list[str]:
        """[] when absent."""
        value = self.values.get(field)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.wrong(field, "a list of names", value)
        return value

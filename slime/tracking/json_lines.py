"""metrics.jsonl and its siblings: a JSON line for each record."""

import json
import os
from pathlib import Path
from typing import Any

from slime.config.schema import ConfigError
from slime.tracking.past import Past


class JsonLines:
    """One JSON object a line, flushed at once, so that a killed run has lost none.

    NaN is not JSON: a record that holds one raises ValueError.  Records of another run are never
    added to: FileExistsError.
    """

    def __init__(self, path: Path, past: Past | None = None) -> None:
        """past: of a run that goes on; the file is as long as it was then.

        Raises ConfigError when it is shorter.
        """
        self._path = path
        if past is None and path.exists() and path.stat().st_size > 0:
            raise FileExistsError(f"{path} already holds records")
        self._file = path.open("ab")
        if past is not None:
            self._shorten(past.lengths.get(path.name, 0))

    @property
    def name(self) -> str:
        return self._path.name

    def write(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n"
        self._file.write(text.encode("utf-8", "backslashreplace"))
        self._file.flush()

    def on_disk(self) -> int:
        """The length in bytes, all of which would survive a power cut."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _shorten(self, length: int) -> None:
        there = self._file.tell()
        if there < length:
            raise ConfigError(
                f"{self._path} has {there} bytes, and had {length} when the checkpoint was saved: "
                "start from it in another folder, with checkpoint.resume=<this one>"
            )
        self._file.truncate(length)

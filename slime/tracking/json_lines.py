"""metrics.jsonl and its siblings: a JSON line for each record."""

import json
from pathlib import Path
from typing import Any


class JsonLines:
    """One JSON object a line, flushed at once, so that a killed run has lost none.

    NaN is not JSON: a record that holds one raises ValueError.  A file of another run is never
    added to: FileExistsError.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8", errors="backslashreplace")

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

"""check.json: what one check found, for tables over several of them and for programs."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slime.check.compare import Row
from slime.check.preflight import CERTIFICATE
from slime.check.shares import ModeShares
from slime.check.tolerances import EXACT


@dataclass(frozen=True, slots=True)
class Certificate:
    """The whole of a check.  The first of the modes is the configured one."""

    layout: str
    step: str
    rows: tuple[Row, ...]
    modes: tuple[ModeShares, ...]
    gradient_norms: tuple[float, ...]  # of each mode
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def verdict(self) -> str:
        """What was proved, in words."""
        if not self.ok:
            failed = [row.term.partition(":")[0] for row in self.rows if not row.ok]
            return f"FAIL: {', '.join(failed)} not that of the formulas on {self.layout}"
        worst = f"on {self.layout}: worst relative error {self.worst_relative_error:.1g}"
        if max(row.tolerance for row in self.rows) <= EXACT:
            return f"loss exact {worst}"
        return (
            f"loss right within rounding {worst} (with parallel.precision=float32 and "
            f"check.shrink=true the same check goes to {EXACT:g})"
        )

    @property
    def worst_relative_error(self) -> float:
        """Infinite where something is not a finite number."""
        errors = [row.relative_error for row in self.rows]
        return max(math.inf if error is None else error for error in errors)

    def write(self, run_directory: Path) -> None:
        record: dict[str, Any] = {"ok": self.ok, "verdict": self.verdict, **asdict(self)}
        for row, written in zip(self.rows, record["rows"], strict=True):
            written["ok"] = row.ok
        text = json.dumps(_finite(record), indent=2, allow_nan=False) + "\n"
        (run_directory / CERTIFICATE).write_text(text, encoding="utf-8")


def _finite(value: Any) -> Any:
    """The same with None for every number that JSON does not have."""
    match value:
        case dict():
            return {key: _finite(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_finite(entry) for entry in value]
        case float() if not math.isfinite(value):
            return None
    return value

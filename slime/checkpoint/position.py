"""Where a run stands, beside what its train workers hold: a few numbers."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

_MOST = 1 << 53
_COUNTS = ("iteration", "step", "bad_steps", "draws", "engine_restarts", "trainer_restarts")


@dataclass(frozen=True, slots=True)
class Position:
    """After so many iterations.  All that is drawn later follows from the seed and from this.

    bad_steps: the last ones in a row whose loss or gradient was not finite.
    draws: of the task's prompts; a filter may take several in an iteration.
    engine_restarts, trainer_restarts: of this run so far.
    lengths: of the files that are added to, in bytes.
    tracker: the tracker's own id of the run, where it has one.
    """

    iteration: int = 0
    step: int = 0
    bad_steps: int = 0
    draws: int = 0
    engine_restarts: int = 0
    trainer_restarts: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    tracker: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Position":
        """Raises TypeError or ValueError for values that no run of this version wrote."""
        position = cls(**values)
        counts = (getattr(position, name) for name in _COUNTS)
        if not isinstance(position.lengths, dict):
            raise TypeError("lengths is no mapping")
        for count in (*counts, *position.lengths.values()):
            if type(count) is not int:
                raise TypeError(f"{count!r:.60} is no number of anything")
            if not 0 <= count <= _MOST:
                raise ValueError(f"{count:.3g} of something is more than there can be, or less")
        if not isinstance(position.tracker, str | None):
            raise TypeError("tracker is no text")
        return position

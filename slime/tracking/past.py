"""What a run that goes on had reported up to where it goes on from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Past:
    """Of the same run directory.  What was written after that moment is written once more.

    iteration: how many had ended.
    lengths: of metrics.jsonl and its siblings, in bytes, by name.
    tracker: the tracker's own id of the run, where it has one.
    """

    iteration: int
    lengths: dict[str, int]
    tracker: str | None

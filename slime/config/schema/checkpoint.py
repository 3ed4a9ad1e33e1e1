"""When a run is saved, what is kept of that, and where a run goes on from."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import Node, at_least, key, not_empty, not_negative, positive

AUTO, NEVER = "auto", "never"


@dataclass(slots=True, kw_only=True)
class CheckpointConfig(Node):
    """Checkpoints: all that determines the future of a run, in its run directory."""

    interval: int = key(
        "iterations between checkpoints (0: at the end and on an interrupt only)",
        5,
        trains=False,
        unit="iterations",
        since="0.3",
    )
    keep_last: int = key(
        "newest checkpoints that are kept while the run goes on; when it has finished, one is",
        2,
        trains=False,
        unit="checkpoints",
        since="0.3",
    )
    keep_every: int = key(
        "also keep those after every so many iterations, for good (0: none)",
        0,
        trains=False,
        unit="iterations",
        since="0.3",
    )
    resume: str = key(
        "auto (go on where the run directory's newest checkpoint is) | never (refuse a run "
        "directory that was used) | a run directory or a checkpoint in one, to start from",
        AUTO,
        trains=False,
        since="0.3",
    )
    grace_seconds: float = key(
        "after Ctrl-C or SIGTERM a run saves a checkpoint and ends within this time, or ends "
        "without",
        30.0,
        trains=False,
        unit="seconds",
        since="0.3",
    )

    @property
    def start_from(self) -> str | None:
        """The path in `resume`, if it holds one."""
        return None if self.resume in (AUTO, NEVER) else self.resume

    def problems(self) -> Iterator[str]:
        yield from not_negative("checkpoint.interval", self.interval)
        yield from at_least("checkpoint.keep_last", self.keep_last, 1)
        yield from not_negative("checkpoint.keep_every", self.keep_every)
        yield from not_empty("checkpoint.resume", self.resume)
        yield from positive("checkpoint.grace_seconds", self.grace_seconds)
        if self.interval > 0 and self.keep_every > 0 and self.keep_every % self.interval:
            yield (
                f"checkpoint.keep_every={self.keep_every} must be a multiple of "
                f"checkpoint.interval={self.interval}: no others are saved"
            )

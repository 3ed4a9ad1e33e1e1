"""What a run saves: checkpoints, when and which are kept, and its model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from slime.background import Background
from slime.checkpoint import NotSavedError, Origin, Position
from slime.checkpoint.write import (
    abandon,
    abandon_all,
    begin,
    not_saved,
    prune,
    seal,
    trainer_folder,
)
from slime.cluster.place import get
from slime.cluster.trainer import Trainer
from slime.config.schema import CheckpointConfig
from slime.model.export import WriteShards, write_model_folder

_POLL_SECONDS = 0.1
_FINISH_SECONDS = 60.0  # at the end of a run that failed, for what its workers have written
_GIVE_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SavedModel:
    """The Hugging Face folder that a run leaves.

    Each method raises NotSavedError when the disk does not take it, and TimeoutError; a folder that
    was there stays then.
    """

    source: Path  # the folder of the starting model, for all that is no weights
    target: Path

    def of(self, trainer: Trainer, timeout_seconds: float | None = None) -> None:
        """The current weights; each worker writes its own, a tensor at a time."""
        self._write(partial(trainer.save_weights, timeout_seconds=timeout_seconds))

    def of_shards(self, shards: Sequence[Any]) -> None:
        """shards: references to safetensors files, one of which is fetched at a time."""

        def write(folder: Path) -> None:
            for number, shard in enumerate(shards):
                if weights := get(shard):
                    (folder / f"shard-{number:05d}.safetensors").write_bytes(weights)

        self._write(write)

    def _write(self, write_shards: WriteShards) -> None:
        try:
            write_model_folder(self.source, self.target.absolute(), write_shards)
        except TimeoutError:  # an OSError too
            raise
        except OSError as failure:
            why = failure.strerror or failure
            raise NotSavedError(f"the model was not saved to {self.target} ({why})") from failure


class Checkpoints:
    """Saves where the run stands, in its folder of checkpoints.

    What costs time is done beside the training: the workers write what they have copied; when all
    of them have, a thread makes it last.  after() and now() raise NotSavedError when the disk did
    not take an earlier one; the newest whole one stays.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        folder: Path,
        origin: Origin,
        trainer: Trainer,
        newest: int,
    ) -> None:
        """newest: the iteration of the checkpoint that the run began with."""
        self._config = config
        self._folder = folder
        self._origin = origin
        self._trainer = trainer
        self._newest = newest
        self._writing: Background | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writing is not None:
            self._writing.end(_FINISH_SECONDS)

    def after(self, position: Position) -> None:
        """An iteration has ended: begin a checkpoint if one is due."""
        interval = self._config.interval
        if interval > 0 and position.iteration % interval == 0:
            self._wait()
            self._begin(position)
        elif self._writing is not None and self._writing.has_ended:
            self._wait()

    def now(self, position: Position, timeout_seconds: float | None = None) -> None:
        """It is on the disk when this returns.  Raises TimeoutError."""
        self._wait(timeout_seconds)
        if self._newest != position.iteration:
            self._begin(position, timeout_seconds)
            self._wait(timeout_seconds)

    def only_the_last(self) -> None:
        """The run has finished: the others can go, but those of keep_every."""
        prune(self._folder, 1, self._config.keep_every)

    def give_up(self) -> None:
        """Nothing more is saved."""
        if self._writing is not None:
            self._writing.end(_GIVE_UP_SECONDS, cancel=True)
            self._writing = None

    def _begin(self, position: Position, timeout_seconds: float | None = None) -> None:
        try:
            aside = begin(self._folder, position.iteration)
            self._trainer.begin_checkpoint(trainer_folder(aside).absolute(), timeout_seconds)
        except TimeoutError:  # an OSError too
            raise
        except OSError as failure:
            abandon_all(self._folder)
            raise not_saved(self._folder, failure) from failure
        self._writing = Background(partial(self._finish, aside, position))
        self._newest = position.iteration

    def _finish(self, aside: Path, position: Position, task: Background) -> None:
        """In the thread: what the workers write is made a checkpoint."""
        try:
            while not self._trainer.has_written_checkpoint():
                if task.wait_for_cancel(_POLL_SECONDS):
                    return
            self._trainer.finish_checkpoint()
            seal(aside, self._origin, position)
            prune(self._folder, self._config.keep_last, self._config.keep_every)
        finally:
            abandon(aside)  # nothing, when it has got its name

    def _wait(self, timeout_seconds: float | None = None) -> None:
        """For the one before to be on the disk."""
        if self._writing is None:
            return
        try:
            self._writing.result(timeout_seconds)
        except TimeoutError:
            raise
        except OSError as failure:
            raise not_saved(self._folder, failure) from failure
        self._writing = None

"""What a run saves: checkpoints, when and by whom and which are kept, and its model."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from slime.checkpoint import NotSavedError, Origin, Position
from slime.checkpoint.write import abandon, begin, not_saved, prune, seal, trainer_folder
from slime.cluster.place import get
from slime.cluster.trainer import Trainer
from slime.config.schema import CheckpointConfig
from slime.model.export import WriteShards, write_model_folder


@dataclass(frozen=True, slots=True)
class SavedModel:
    """The Hugging Face folder that a run leaves.

    Each method raises NotSavedError when the disk does not take it; one that was there stays then.
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
        except OSError as failure:
            why = failure.strerror or failure
            raise NotSavedError(f"the model was not saved to {self.target} ({why})") from failure


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """One that the train workers write while the run goes on."""

    aside: Path
    position: Position


class Checkpoints:
    """Saves where the run stands, in its folder of checkpoints.

    What costs time is done beside the training: the workers write what they have copied, then a
    thread makes it last.  Every method raises NotSavedError when the disk did not take an earlier
    one; the newest whole one stays.
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
        self._unfinished: _Unfinished | None = None
        self._newest = newest
        self._sealing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "checkpoint")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        if self._unfinished is not None:
            abandon(self._unfinished.aside)

    def after(self, position: Position) -> None:
        """An iteration has ended: begin a checkpoint if one is due, finish one that is written."""
        interval = self._config.interval
        is_due = interval > 0 and position.iteration % interval == 0
        if self._unfinished is not None and (is_due or self._trainer.has_written_checkpoint()):
            self._finish_writing()
        if is_due:
            self._begin(position)

    def now(self, position: Position) -> None:
        """It is on the disk when this returns."""
        self._finish_writing()
        if self._newest != position.iteration:
            self._begin(position)
            self._finish_writing()
        self._wait()

    def only_the_last(self) -> None:
        """The run has finished: the others can go, but those of keep_every."""
        prune(self._folder, 1, self._config.keep_every)

    def _begin(self, position: Position) -> None:
        try:
            aside = begin(self._folder, position.iteration)
            self._unfinished = _Unfinished(aside, position)
            self._trainer.begin_checkpoint(trainer_folder(aside).absolute())
        except OSError as failure:
            raise self._failed(failure) from failure

    def _finish_writing(self) -> None:
        if self._unfinished is None:
            return
        self._wait()
        written = self._unfinished
        try:
            self._trainer.finish_checkpoint()
        except OSError as failure:
            raise self._failed(failure) from failure
        self._unfinished = None
        self._newest = written.position.iteration
        self._sealing = self._thread.submit(self._seal, written)

    def _seal(self, written: _Unfinished) -> None:
        try:
            seal(written.aside, self._origin, written.position)
        except OSError:
            abandon(written.aside)
            raise
        prune(self._folder, self._config.keep_last, self._config.keep_every)

    def _wait(self) -> None:
        """For the one before to be on the disk."""
        sealing, self._sealing = self._sealing, None
        if sealing is None:
            return
        try:
            sealing.result()
        except OSError as failure:
            raise self._failed(failure) from failure

    def _failed(self, failure: OSError) -> NotSavedError:
        return not_saved(self._folder, failure)

"""However the iterations end, nothing that was learned is lost: what is saved then, and by whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from slime.checkpoint import NotSavedError, Position
from slime.cluster.engine import EngineLostError
from slime.cluster.lost import WorkersLostError
from slime.disk import disk_problem
from slime.saving import SavedModel
from slime.start import Run
from slime.stop import Stop
from slime.tracking.tracker import RunState


class Outcome(IntEnum):
    """How a run ended; the value is the exit code."""

    finished = 0
    failed = 1  # told in a line; the weights that are saved are the last that were fine
    interrupted = 130

    @property
    def state(self) -> RunState:
        """What the trackers call it."""
        return RunState[self.name]


@dataclass(slots=True)
class Boundary:
    """Where the run stands between two iterations; None while it trains."""

    position: Position | None


class PushedWeights:
    """The weights the engine generates with, and the last ones that are known to be fine.

    A step with a finite loss and gradient can still ruin the weights; that shows when the engine
    generates with them.
    """

    def __init__(self, start: Sequence[Any]) -> None:
        self.pushed = self.proved = start

    def push(self, shards: Sequence[Any]) -> None:
        self.pushed = shards

    def prove(self) -> None:
        """The engine has generated with the pushed weights."""
        self.proved = self.pushed


Iterate = Callable[[Run, Stop, PushedWeights, Boundary], None]


def iterate_and_save(run: Run, stop: Stop, model: SavedModel, iterate: Iterate) -> Outcome:
    """However the iterations end, the model is saved: nothing that was learned is lost."""
    try:
        return _iterate_to_an_end(run, stop, model, iterate)
    except NotSavedError as error:
        run.log.warn(f"stopping: {error}")
        return Outcome.failed
    except OSError as error:
        if (problem := disk_problem(error)) is None:
            raise
        run.log.warn(f"stopping: {problem}")
        return Outcome.failed


def _iterate_to_an_end(run: Run, stop: Stop, model: SavedModel, iterate: Iterate) -> Outcome:
    weights = PushedWeights(run.trainer.weights())
    boundary = Boundary(run.begins)
    try:
        iterate(run, stop, weights, boundary)
        run.log.phase("saving the model")
        with stop.held():
            model.of(run.trainer)
            run.checkpoints.only_the_last()
        return Outcome.finished
    except KeyboardInterrupt:
        if not stop.is_over:
            return _save_on_interrupt(run, boundary, model)
        run.checkpoints.give_up()
        run.log.warn("stopped at once: nothing more is saved")
        return Outcome.interrupted
    except FloatingPointError as error:
        run.log.warn(f"stopping: {error}; the last weights that were fine are being saved")
        model.of_shards(weights.proved)
        return Outcome.failed
    except (NotSavedError, WorkersLostError):
        raise
    except EngineLostError as error:
        run.log.warn(f"stopping: {error}; a checkpoint and the model are being saved")
        _save_all(run, boundary, model)
        return Outcome.failed
    except Exception as error:
        if disk_problem(error) is not None:
            raise
        run.log.warn(f"failed ({type(error).__name__}): what was learned is being saved")
        _save_after_failure(run, boundary, model)
        raise


def _save_on_interrupt(run: Run, boundary: Boundary, model: SavedModel) -> Outcome:
    run.log.warn(
        "stopping: a checkpoint and the model are being saved (interrupt again to stop without "
        "that)"
    )
    try:
        _save_all(run, boundary, model)
    except KeyboardInterrupt:
        run.checkpoints.give_up()
        run.log.warn("stopped at once, while a checkpoint or the model was being saved")
    except (NotSavedError, WorkersLostError) as error:
        run.log.warn(str(error))
    return Outcome.interrupted


def _save_after_failure(run: Run, boundary: Boundary, model: SavedModel) -> None:
    """As far as the train workers still answer: one of them may wait for one that has failed."""
    try:
        _save_all(run, boundary, model, timeout_seconds=60)
    except (NotSavedError, WorkersLostError) as error:
        run.log.warn(str(error))
    except TimeoutError:
        run.log.warn("nothing could be saved: a train worker does not answer")


def _save_all(
    run: Run, boundary: Boundary, model: SavedModel, timeout_seconds: float | None = None
) -> None:
    """A checkpoint only where the workers stand at an end of an iteration, to go on from there."""
    if boundary.position is not None:
        run.checkpoints.now(boundary.position, timeout_seconds)
    model.of(run.trainer, timeout_seconds)

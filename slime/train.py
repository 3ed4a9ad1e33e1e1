"""The training loop, top to bottom: collect rollouts, plan, train, push the weights, again."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from slime.cluster.interrupt import terminate_like_an_interrupt
from slime.cluster.place import get
from slime.config.schema import Config
from slime.data import EMPTY_STEP
from slime.data.metrics import StepMetrics
from slime.data.step import kl_penalty_mean
from slime.model.export import write_model_folder
from slime.model.prepare import prepare_model
from slime.report.reward import draw_reward
from slime.start import Run, start
from slime.tracking.agreement import agreement_bound
from slime.tracking.clock import Clock
from slime.tracking.records import Times, rollout_metrics
from slime.tracking.run_log import RunLog, StepNumber
from slime.tracking.tracker import RunState


class Outcome(IntEnum):
    """How a run ended; the value is the exit code."""

    finished = 0
    not_finite = 1
    interrupted = 130

    @property
    def state(self) -> RunState:
        """What the trackers call it."""
        match self:
            case Outcome.finished:
                return RunState.finished
            case Outcome.not_finite:
                return RunState.failed
            case Outcome.interrupted:
                return RunState.interrupted


def train(config: Config, run_directory: Path) -> int:
    """Run the whole of `config`; what it leaves is in `run_directory`.  -> exit code

    Raises ConfigError, before training starts, for what only shows when models, tasks and ports are
    opened.  An interrupt (Ctrl-C or SIGTERM) still saves the model; a second one does not.
    """
    with terminate_like_an_interrupt():
        model_folder = prepare_model(config.model)
        agreement = agreement_bound(
            config.parallel.precision, config.rollout.top_p, config.loss.objective
        )
        with RunLog(config.tracking, run_directory, config.iterations, agreement) as log:
            log.note(f"run directory: {run_directory}")
            try:
                with start(config, model_folder, log) as run:
                    save = partial(write_model_folder, model_folder, run_directory / "model")
                    outcome = _iterate_and_save(run, save)
                    log.ended(outcome.state)
                    return outcome
            finally:
                picture = run_directory / "reward.png"
                if draw_reward(run_directory / "metrics.jsonl", picture, title=run_directory.name):
                    log.note(f"this run is in {run_directory}")


def _iterate_and_save(run: Run, save: Callable[[Sequence[bytes]], None]) -> Outcome:
    """However the iterations end, the model is saved: nothing that was learned is lost."""
    weights = PushedWeights(run.trainer.weights())
    try:
        _iterate(run, weights)
    except KeyboardInterrupt:
        run.log.warn("stopping: the model is being saved (interrupt again to stop without that)")
        save(get(run.trainer.weights()))
        return Outcome.interrupted
    except FloatingPointError as error:
        run.log.warn(f"stopping: {error}; the last weights that were fine are being saved")
        save(get(weights.proved))
        return Outcome.not_finite
    except Exception as error:
        run.log.warn(f"failed ({type(error).__name__}): the model is being saved")
        save(get(run.trainer.weights()))
        raise
    run.log.phase("saving the model")
    with _first_interrupt_waits(run.log):
        save(get(run.trainer.weights()))
    return Outcome.finished


def _iterate(run: Run, weights: "PushedWeights") -> None:
    bad_steps = BadSteps(run.max_bad_steps)
    numbers = count()
    _evaluate(run, trained=0)
    for iteration in range(run.iterations):
        clock = Clock()
        selection = run.source.collect(iteration, run.log.phase)
        weights.prove()
        run.log.samples(iteration, selection)
        clock.lap()

        run.log.phase("training")
        steps = run.prepare(run.plan(selection.trained))  # weights are fixed here, for whole steps
        steps = steps or [EMPTY_STEP]
        for step in steps[:-1]:
            metrics = run.trainer.train(step)
            run.log.step(StepNumber(iteration, next(numbers)), metrics)
            bad_steps.count(metrics)
        last = run.trainer.train(steps[-1])
        train_s = clock.lap()

        run.log.phase("pushing weights")
        weights.push(run.trainer.weights())
        run.source.load_weights(weights.pushed)
        push_s = clock.lap()

        run.log.last_step(
            StepNumber(iteration, next(numbers)),
            last,
            rollout_metrics(selection, sum(step.prompts for step in steps), kl_penalty_mean(steps)),
            Times.of(selection, train_s, push_s, clock.total()),
        )
        bad_steps.count(last)
        if run.evaluates_after(iteration):
            _evaluate(run, trained=iteration + 1)


def _evaluate(run: Run, trained: int) -> None:
    run.log.phase("evaluating")
    evaluation = run.source.evaluate()
    if evaluation is not None:
        run.log.evaluation(trained, evaluation)


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


class BadSteps:
    """Counts steps in a row whose loss or gradient was not finite."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row = 0

    def count(self, metrics: StepMetrics) -> None:
        """Raises FloatingPointError at the limit.  A step without active tokens is not bad."""
        bad = metrics.skipped and metrics.active_tokens > 0
        self._in_a_row = self._in_a_row + 1 if bad else 0
        if self._in_a_row >= self._limit:
            raise FloatingPointError(
                f"{self._in_a_row} steps in a row had a loss or a gradient that was not finite "
                "(max_bad_steps)"
            )


@contextmanager
def _first_interrupt_waits(log: RunLog) -> Iterator[None]:
    """Inside, the first Ctrl-C only says what is going on; the second one interrupts."""

    def wait(*_: object) -> None:
        log.warn("the model is being saved (interrupt again to stop without that)")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

"""The training loop, top to bottom: collect rollouts, plan, train, push the weights, again."""

from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from slime.begin import Beginning, find_beginning
from slime.checkpoint import Position
from slime.cluster.lost import WorkersLostError
from slime.cluster.restarts import Restarts
from slime.config.schema import Config
from slime.data import EMPTY_STEP
from slime.data.metrics import StepMetrics
from slime.data.step import kl_penalty_mean
from slime.ends import Boundary, Outcome, PushedWeights, iterate_and_save
from slime.model.prepare import prepare_model
from slime.report.reward import draw_reward
from slime.saving import SavedModel
from slime.start import Run, start
from slime.stop import Stop
from slime.tracking.agreement import agreement_bound
from slime.tracking.clock import Clock
from slime.tracking.records import Recovery, Times, rollout_metrics
from slime.tracking.run_log import RunLog, StepNumber
from slime.tracking.tracker import RunState


def train(config: Config, run_directory: Path) -> int:
    """Run the whole of `config`; what it leaves is in `run_directory`.  -> exit code

    A run directory with a checkpoint goes on from there, and so does a run that loses its workers.
    Raises ConfigError, before training starts, for what only shows when models, tasks and ports are
    opened.  An interrupt (Ctrl-C or SIGTERM) still saves a checkpoint and the model; a second one
    does not.
    """
    with Stop(config.checkpoint.grace_seconds) as stop:
        model_folder = prepare_model(config.model)
        try:
            return _train_with_restarts(config, run_directory, model_folder, stop)
        finally:
            _draw(run_directory)


def _draw(run_directory: Path) -> None:
    picture = run_directory / "reward.png"
    with suppress(OSError):  # that the disk is full has been told
        if draw_reward(run_directory / "metrics.jsonl", picture, title=run_directory.name):
            print(f"this run is in {run_directory}", flush=True)


def _train_with_restarts(
    config: Config, run_directory: Path, model_folder: Path, stop: Stop
) -> Outcome:
    """What is lost with a train worker is what came after the newest checkpoint."""
    restarts: Restarts | None = None
    for left in reversed(range(config.cluster.max_restarts + 1)):
        warnings: list[str] = []
        beginning = find_beginning(config.checkpoint, run_directory, warnings.append)
        restarts = restarts or beginning.restarts
        beginning = replace(beginning, restarts=restarts)
        with _log(config, beginning) as log:
            for warning in warnings:
                log.warn(warning)
            restarts.warn = log.warn
            stop.tell(log.warn)
            try:
                with start(config, model_folder, log, beginning) as run:
                    model = SavedModel(model_folder, run_directory / "model")
                    outcome = iterate_and_save(run, stop, model, _iterate)
                    if outcome is Outcome.finished:
                        run.trainer.close()
                    log.ended(outcome.state)
                    log.note(restarts.summary())
                    return outcome
            except WorkersLostError as lost:
                stop.check()
                log.ended(RunState.failed)
                restarts.trainer_lost(str(lost), left)
    return Outcome.failed


def _log(config: Config, beginning: Beginning) -> RunLog:
    agreement = agreement_bound(
        config.parallel.precision, config.rollout.top_p, config.loss.objective
    )
    directory, past = beginning.run_directory, beginning.past
    return RunLog(config.tracking, directory, config.iterations, agreement, past)


def _iterate(run: Run, stop: Stop, weights: PushedWeights, boundary: Boundary) -> None:
    bad_steps = BadSteps(run.max_bad_steps, run.begins.bad_steps)
    numbers, checkpoint_s = count(run.begins.step), 0.0
    for iteration in range(run.begins.iteration, run.iterations):
        if run.evaluates_after(iteration):
            _evaluate(run, trained=iteration)
        clock = Clock()
        selection = run.source.collect(iteration, run.log.phase)
        weights.prove()
        run.log.samples(iteration, selection)
        clock.lap()

        run.log.phase("training")
        steps = run.prepare(run.plan(selection.trained))  # weights are fixed here, for whole steps
        steps = steps or [EMPTY_STEP]
        with stop.held():  # an interrupt waits: between iterations a run is resumed exactly
            boundary.position = None
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

            number = next(numbers)
            run.log.last_step(
                StepNumber(iteration, number),
                last,
                rollout_metrics(
                    selection, sum(step.prompts for step in steps), kl_penalty_mean(steps)
                ),
                Times.of(
                    selection,
                    train_s=train_s,
                    push_s=push_s,
                    checkpoint_s=checkpoint_s,
                    iteration_s=clock.total(),
                ),
                Recovery(run.restarts.engine, run.restarts.trainer),
            )
            bad_steps.count(last)
            clock.lap()
            boundary.position = _position(run, iteration + 1, number + 1, bad_steps)
            run.checkpoints.after(boundary.position)
            checkpoint_s = clock.lap()
        stop.check()
    assert boundary.position is not None
    run.checkpoints.now(boundary.position)
    _evaluate(run, trained=run.iterations)


def _evaluate(run: Run, trained: int) -> None:
    run.log.phase("evaluating")
    evaluation = run.source.evaluate()
    if evaluation is not None:
        run.log.evaluation(trained, evaluation)


def _position(run: Run, iterations: int, steps: int, bad_steps: "BadSteps") -> Position:
    """All that decides how the run goes on, beside what the train workers hold."""
    past = run.log.past(iterations)
    return Position(
        iteration=iterations,
        step=steps,
        bad_steps=bad_steps.in_a_row,
        draws=run.source.drawn(),
        engine_restarts=run.restarts.engine,
        trainer_restarts=run.restarts.trainer,
        lengths=past.lengths,
        tracker=past.tracker,
    )


class BadSteps:
    """Counts steps in a row whose loss or gradient was not finite."""

    def __init__(self, limit: int, in_a_row: int) -> None:
        self._limit = limit
        self.in_a_row = in_a_row

    def count(self, metrics: StepMetrics) -> None:
        """Raises FloatingPointError at the limit.  A step without active tokens is not bad."""
        bad = metrics.skipped and metrics.active_tokens > 0
        self.in_a_row = self.in_a_row + 1 if bad else 0
        if self.in_a_row >= self._limit:
            raise FloatingPointError(
                f"{self.in_a_row} steps in a row had a loss or a gradient that was not finite "
                "(max_bad_steps)"
            )

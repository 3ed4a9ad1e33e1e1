"""Config -> a run that is ready to iterate.  Everything is decided and checked here, once.

Inputs first, because they can be wrong and cost little; then the workers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slime.begin import Beginning
from slime.checkpoint import FOLDER, Position
from slime.cluster.place import get
from slime.cluster.restarts import Restarts
from slime.cluster.session import ray_session
from slime.cluster.trainer import Trainer, start_trainer
from slime.config.schema import (
    SFT,
    Config,
    LocalEngine,
    ReferenceKLConfig,
    ReplayEngine,
    kl_in_reward,
)
from slime.data import Step
from slime.kl_in_reward import build_kl_in_reward
from slime.megatron.spec import TrainWorkerSpec
from slime.plan import Planner, build_planner
from slime.rollout.source import RolloutSource
from slime.saving import Checkpoints
from slime.sources import drawn, replayed
from slime.tracking.run_log import RunLog
from slime.verifying import build_verifier


@dataclass(frozen=True, slots=True)
class Run:
    """A run with everything in it started."""

    begins: Position
    iterations: int
    evaluation_interval: int  # 0: before and after only
    max_bad_steps: int
    source: RolloutSource
    plan: Planner
    prepare: Callable[[list[Step]], list[Step]]
    trainer: Trainer
    restarts: Restarts
    checkpoints: Checkpoints
    log: RunLog

    def evaluates_after(self, iterations: int) -> bool:
        """Whether the weights that so many iterations have trained are evaluated."""
        interval = self.evaluation_interval
        at_an_end = iterations in (0, self.iterations)
        return at_an_end or (interval > 0 and iterations % interval == 0)


@contextmanager
def start(config: Config, model_folder: Path, log: RunLog, beginning: Beginning) -> Iterator[Run]:
    """The run inside the block; after it, no process that it started is left.

    Raises ConfigError for what only shows when models, tasks, folders and ports are opened.
    """
    plan = build_planner(
        config.loss, config.advantage, config.steps_per_iteration, config.incomplete_step
    )
    with ExitStack() as stack:
        log.phase("opening inputs")
        match config.rollout.engine:
            case LocalEngine() as engine:
                connect, engines = drawn(config, engine, model_folder, beginning, stack), 1
            case ReplayEngine() as engine:
                connect, engines = replayed(config, engine, model_folder, plan), 0
            case other:
                raise TypeError(f"no engine for {type(other).__name__}")
        log.phase("starting workers")
        gpus = stack.enter_context(ray_session(config.cluster, config.parallel.workers, engines))
        trainer, trainer_starts = start_trainer(
            worker_spec(config, model_folder), config.cluster, gpus.train_worker
        )
        source, source_starts = connect(gpus)
        get([*trainer_starts, *source_starts])
        verifier = build_verifier(
            config.model, config.parallel.precision, model_folder, trainer, source, log.phase
        )
        if verifier is not None:
            verifier.start()
        if beginning.checkpoint.trainer is not None:
            log.phase("reading checkpoint")
            trainer.load_checkpoint(beginning.checkpoint.trainer)
            source.load_weights(trainer.weights())
            if verifier is not None:
                verifier.checkpoint(beginning.checkpoint.folder)
        source.go_on(beginning.position.draws)
        checkpoints = stack.enter_context(
            Checkpoints(
                config.checkpoint,
                beginning.run_directory / FOLDER,
                beginning.checkpoint.origin,
                trainer,
                beginning.position.iteration,
            )
        )
        yield Run(
            begins=beginning.position,
            iterations=config.iterations,
            evaluation_interval=config.evaluation.interval,
            max_bad_steps=config.max_bad_steps,
            source=source,
            plan=plan,
            prepare=_preparation(config, trainer),
            trainer=trainer,
            restarts=beginning.restarts,
            checkpoints=checkpoints,
            log=log,
        )


def worker_spec(config: Config, model_folder: Path) -> TrainWorkerSpec:
    """What every train worker of this run is built from."""
    return TrainWorkerSpec(
        model_folder=str(model_folder),
        loss=config.loss,
        optimizer=config.optimizer,
        parallel=config.parallel,
        temperature=config.rollout.temperature,
        total_steps=config.iterations * config.steps_per_iteration,
        seed=config.seed,
    )


def _preparation(config: Config, trainer: Trainer) -> Callable[[list[Step]], list[Step]]:
    """The log-prob passes before an iteration's first step, and what depends on them.

    With one step an iteration the current log-probs are the old ones, and no pass is needed, unless
    advantages wait for them.  loss/objective=sft reads none at all.
    """
    kl, passes = config.loss.kl, list[Callable[[list[Step]], list[Step]]]()
    reads_old = not isinstance(config.loss.objective, SFT)
    if (config.steps_per_iteration > 1 and reads_old) or kl_in_reward(kl):
        passes.append(trainer.with_old_log_probs)
    if isinstance(kl, ReferenceKLConfig):
        passes.append(trainer.with_reference_log_probs)
    if kl_in_reward(kl):
        passes.append(build_kl_in_reward(kl, config.advantage))
    return partial(_all, passes)


def _all(passes: Sequence[Callable[[list[Step]], list[Step]]], steps: list[Step]) -> list[Step]:
    for prepare in passes:
        steps = prepare(steps)
    return steps

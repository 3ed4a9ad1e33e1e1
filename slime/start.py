"""Config -> a run that is ready to iterate.  Everything is decided and checked here, once.

Inputs first, because they can be wrong and cost little; then the workers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slime.checkpoint import FOLDER, Checkpoint, Position
from slime.cluster.engine import start_engine
from slime.cluster.place import get
from slime.cluster.restarts import Restarts
from slime.cluster.session import GpuShares, ray_session
from slime.cluster.trainer import Trainer, start_trainer
from slime.config.schema import (
    SFT,
    Config,
    Demonstrations,
    LocalEngine,
    ReferenceKLConfig,
    ReplayEngine,
    kl_in_reward,
)
from slime.data import Group, Step
from slime.kl_in_reward import build_kl_in_reward
from slime.megatron.spec import TrainWorkerSpec
from slime.model.architecture import read_architecture
from slime.model.tokenizer import Tokenizer, load_tokenizer
from slime.model.vocabulary import refuse_tokens_without_a_row
from slime.plan import Planner, build_planner
from slime.reward import Scorer
from slime.reward.overlong import build_shaping
from slime.rollout.demonstrations import build_demonstrator
from slime.rollout.draws import DemonstratedDraws, Draws, SampledDraws
from slime.rollout.engine import Engine, Sampling
from slime.rollout.generate import Examiner, build_sampling
from slime.rollout.limits import check_lengths
from slime.rollout.replay import reopen_save_folder, save_iteration
from slime.rollout.replay_check import ReplayFacts, check_replay
from slime.rollout.selection import build_selection
from slime.rollout.source import Drawn, Replayed, RolloutSource, drop
from slime.saving import Checkpoints
from slime.task import Task, build_task
from slime.tracking.past import Past
from slime.tracking.run_log import RunLog
from slime.verifying import build_verifier


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a run begins: with the starting model, or where a checkpoint says."""

    run_directory: Path
    checkpoint: Checkpoint
    is_new: bool  # nothing has been reported yet
    restarts: Restarts

    @property
    def position(self) -> Position:
        return self.checkpoint.position

    @property
    def past(self) -> Past | None:
        """What has been reported of a run that goes on."""
        at = self.position
        return None if self.is_new else Past(at.iteration, at.lengths, at.tracker)


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


# Starts what generates; the list is what to wait for before the first use of it.
Connect = Callable[[GpuShares], tuple[RolloutSource, list[Any]]]


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
                connect, engines = _drawn(config, engine, model_folder, beginning, stack), 1
            case ReplayEngine() as engine:
                connect, engines = _replayed(config, engine, model_folder, plan), 0
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


def _drawn(
    config: Config,
    engine_config: LocalEngine,
    model_folder: Path,
    beginning: Beginning,
    stack: ExitStack,
) -> Connect:
    rollout = config.rollout
    tokenizer, architecture = load_tokenizer(model_folder), read_architecture(model_folder)
    refuse_tokens_without_a_row(model_folder, tokenizer.largest_token, architecture.vocabulary_size)
    task = build_task(config.task, config.seed, tokenizer.render_chat)
    sampling = build_sampling(rollout, config.task.stop_tokens, tokenizer)
    check_lengths(task.longest(), tokenizer, rollout, architecture.max_positions)
    draws = _build_draws(config, task, tokenizer, sampling)
    held_out = tuple(task.held_out(config.evaluation.prompts))
    scorer = stack.enter_context(Scorer(config.reward))
    begins = beginning.position.iteration
    keep = _keep(rollout.save, sampling, beginning.run_directory, begins)

    def connect(gpus: GpuShares) -> tuple[RolloutSource, list[Any]]:
        engine, starts = start_engine(
            engine_config,
            config.parallel.precision,
            str(model_folder),
            config.cluster,
            gpus.engine,
            beginning.restarts,
        )
        source = Drawn(
            draws=draws(engine),
            select=build_selection(rollout),
            scorer=scorer,
            shaping=build_shaping(config.reward.overlong, rollout.max_response_tokens),
            keep=keep,
            engine=engine,
            examine=Examiner(engine, held_out, tokenizer, rollout, sampling, scorer),
        )
        return source, starts

    return connect


def _build_draws(
    config: Config, task: Task, tokenizer: Tokenizer, sampling: Sampling
) -> Callable[[Engine], Draws]:
    """Where an iteration's groups come from, once there is an engine.

    Raises ConfigError for demonstrations that cannot be trained on.
    """
    rollout = config.rollout
    if isinstance(rollout.engine, Demonstrations):
        demonstrator = build_demonstrator(rollout, config.task.stop_tokens, tokenizer)
        demonstrator.check(task.longest_demonstrations())
        return lambda _engine: DemonstratedDraws(demonstrator, task, rollout)
    return lambda engine: SampledDraws(engine, task, tokenizer, sampling, rollout, config.seed)


def _replayed(
    config: Config, engine_config: ReplayEngine, model_folder: Path, plan: Planner
) -> Connect:
    folder = Path(engine_config.path).expanduser()
    architecture = read_architecture(model_folder)
    facts = ReplayFacts(
        iterations=config.iterations,
        steps_per_iteration=config.steps_per_iteration,
        incomplete_step=config.incomplete_step,
        filter=config.rollout.filter,
        parallel=config.parallel,
        temperature=config.rollout.temperature,
        top_p=config.rollout.top_p,
        vocabulary_size=architecture.vocabulary_size,
        max_positions=architecture.max_positions,
    )
    check_replay(folder, facts, plan)
    return lambda _gpus: (Replayed(folder), [])


def _keep(
    save: str | None, sampling: Sampling, run_directory: Path, begins: int
) -> Callable[[int, Sequence[Group]], None]:
    if save is None:
        return drop
    folder = Path(save).expanduser()
    reopen_save_folder(folder, run_directory, begins)
    return partial(save_iteration, folder, sampling)


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

"""Where a run's rollouts come from: their inputs are opened here, and what generates is started."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from slime.begin import Beginning
from slime.cluster.engine import start_engine
from slime.cluster.session import GpuShares
from slime.config.schema import (
    Config,
    Demonstrations,
    LocalEngine,
    ReplayEngine,
)
from slime.data import Group
from slime.model.architecture import read_architecture
from slime.model.tokenizer import Tokenizer, load_tokenizer
from slime.model.vocabulary import refuse_tokens_without_a_row
from slime.plan import Planner
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
from slime.task import Task, build_task

# Starts what generates; the list is what to wait for before the first use of it.
Connect = Callable[[GpuShares], tuple[RolloutSource, list[Any]]]


def drawn(
    config: Config,
    engine_config: LocalEngine,
    model_folder: Path,
    beginning: Beginning,
    stack: ExitStack,
) -> Connect:
    """An engine that generates, or copies demonstrations; what scores its answers is on the stack.

    Raises ConfigError for what only shows when models, tasks and folders are opened.
    """
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


def replayed(
    config: Config, engine_config: ReplayEngine, model_folder: Path, plan: Planner
) -> Connect:
    """What another run has saved.  Raises ConfigError for rollouts that do not fit this run."""
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

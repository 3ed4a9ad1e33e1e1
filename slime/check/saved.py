"""A saved iteration as the step to look at."""

import sys
from pathlib import Path

from slime.check.preflight import KEY
from slime.config.schema import Config, FilterConfig
from slime.model.architecture import Architecture
from slime.plan import Planner
from slime.rollout.replay import SavedIteration, read_iteration
from slime.rollout.replay_check import ReplayFacts, check_iteration


def read_to_explain(config: Config, plan: Planner) -> SavedIteration:
    """The iteration that check.replay and check.iteration name.

    Raises ConfigError, a line for each problem, when it is damaged or cannot be planned.
    """
    saved, folder = _read(config)
    check_iteration(saved, folder, config.check.iteration, _facts(config, saved), plan)
    return saved


def read_to_check(config: Config, plan: Planner, model: Architecture) -> SavedIteration:
    """The same for an iteration that `model`, under this config, could be trained on."""
    saved, folder = _read(config)
    facts = ReplayFacts(
        iterations=1,
        steps_per_iteration=config.steps_per_iteration,
        incomplete_step=config.incomplete_step,
        filter=FilterConfig(),  # a step without groups shows nothing
        parallel=config.parallel,
        temperature=config.rollout.temperature,
        top_p=config.rollout.top_p,
        vocabulary_size=model.vocabulary_size,
        max_positions=model.max_positions,
        key=KEY,
    )
    check_iteration(saved, folder, config.check.iteration, facts, plan)
    return saved


def _read(config: Config) -> tuple[SavedIteration, Path]:
    assert config.check.replay is not None
    folder = Path(config.check.replay).expanduser()
    return read_iteration(folder, config.check.iteration, KEY), folder


def _facts(config: Config, saved: SavedIteration) -> ReplayFacts:
    """No model is at hand that it would have to fit."""
    return ReplayFacts(
        iterations=1,
        steps_per_iteration=config.steps_per_iteration,
        incomplete_step=config.incomplete_step,
        filter=FilterConfig(),  # a step without groups shows nothing
        parallel=None,
        temperature=saved.temperature,
        top_p=saved.top_p,
        vocabulary_size=sys.maxsize,
        max_positions=sys.maxsize,
        key=KEY,
    )

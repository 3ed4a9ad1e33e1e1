"""What is checked: a model folder and an iteration's groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slime.check.saved import read_to_check
from slime.check.synthetic import Sizes, draw_groups
from slime.check.tolerances import Tolerances, of_small_model, of_whole_model
from slime.config.schema import Config, kl_in_reward
from slime.data import Group, Sample
from slime.model.architecture import Architecture, read_architecture
from slime.model.precision import dtype_of
from slime.model.prepare import prepare_model
from slime.model.shrink import shrunken, write_random_model
from slime.plan import Planner

SMALL_MODEL = "small_model"  # its folder in the run directory


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The groups fit the model; the first step that the planner makes of them is looked at."""

    folder: Path
    model_in_words: str
    groups: tuple[Group, ...]
    step_in_words: str
    has_old: bool  # whether the step has old log-probs of its own
    own_rollout_log_probs: bool  # whether the groups' rollout log-probs are this model's
    tolerances: Tolerances


def open_subject(config: Config, plan: Planner, run_directory: Path) -> Subject:
    """Raises ConfigError when the model or the saved iteration cannot be had, or do not fit."""
    original = prepare_model(config.model)
    architecture = read_architecture(original)
    folder = original
    precision = dtype_of(config.parallel.precision)
    tolerances = of_whole_model(precision)
    words = f"{config.model.name}, {_size(architecture)}"
    if config.check.shrink:
        small = shrunken(architecture, config.parallel)
        folder = run_directory / SMALL_MODEL
        write_random_model(small, config.check.seed, folder)
        tolerances = of_small_model(precision)
        words = f"a small random {small.family} in the shape of {config.model.name}, {_size(small)}"
    if config.check.replay is None:
        return _synthetic(config, folder, words, tolerances)
    saved = read_to_check(config, plan, architecture)
    vocabulary = read_architecture(folder).vocabulary_size
    return Subject(
        folder=folder,
        model_in_words=words,
        groups=tuple(_folded(group, vocabulary) for group in saved.groups),
        step_in_words=(
            f"the first of iteration {config.check.iteration} of {config.check.replay}, "
            f"{_policy(config)}"
        ),
        has_old=_has_old(config),
        own_rollout_log_probs=not config.check.shrink,
        tolerances=tolerances,
    )


def _synthetic(
    config: Config, folder: Path, model_in_words: str, tolerances: Tolerances
) -> Subject:
    model = read_architecture(folder)
    sizes = Sizes.fitting(config.parallel, model.max_positions, model.vocabulary_size)
    return Subject(
        folder=folder,
        model_in_words=model_in_words,
        groups=tuple(draw_groups(config.steps_per_iteration, sizes, config.check.seed)),
        step_in_words=f"synthetic, samples of up to {sizes.tokens} tokens, {_policy(config)}",
        has_old=_has_old(config),
        own_rollout_log_probs=False,
        tolerances=tolerances,
    )


def _has_old(config: Config) -> bool:
    """As in training: the first and only step of an iteration needs no older log-probs, unless its
    rewards pay for a KL of theirs."""
    return config.steps_per_iteration > 1 or kl_in_reward(config.loss.kl)


def _policy(config: Config) -> str:
    if _has_old(config):
        return "off policy"
    return "on policy (steps_per_iteration=1): no ratio leaves 1 and no clip binds"


def _size(model: Architecture) -> str:
    return f"{model.layers} layers of {model.hidden_size}, vocabulary {model.vocabulary_size}"


def _folded(group: Group, vocabulary: int) -> Group:
    """With every token in the vocabulary; those of a vocabulary that was shrunk are others now."""

    def fold(samples: Sequence[Sample]) -> tuple[Sample, ...]:
        return tuple(
            replace(
                sample,
                prompt_tokens_P=sample.prompt_tokens_P % vocabulary,
                response_tokens_R=sample.response_tokens_R % vocabulary,
            )
            for sample in samples
        )

    rollouts = tuple(replace(r, samples=fold(r.samples)) for r in group.rollouts)
    return replace(group, rollouts=rollouts)

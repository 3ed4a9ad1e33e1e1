"""Saved rollouts, read once before a run that trains on them: do they fit this config and model?

They were generated under a config of their own, so nothing that holds for generated rollouts may be
taken for granted.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slime.config.schema import (
    ConfigError,
    FilterConfig,
    IncompleteStep,
    ParallelConfig,
    ZeroVarianceFilter,
)
from slime.config.schema.steps import StepsError, filtered_step_sizes, step_sizes
from slime.data import Group, Rollout, Sample
from slime.rollout.check import REPLAY_KEY, replay_problems
from slime.rollout.replay import SavedIteration, read_iteration


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """What of a run its saved rollouts have to fit."""

    iterations: int
    steps_per_iteration: int
    incomplete_step: IncompleteStep
    filter: FilterConfig  # zero_variance: iterations may have any number of groups
    parallel: ParallelConfig | None  # None: no layout has to fit
    temperature: float
    top_p: float
    vocabulary_size: int
    max_positions: int
    key: str = REPLAY_KEY  # names the folder


# Raises ValueError for groups that cannot be trained on.
Plan = Callable[[list[Group]], object]


def check_replay(folder: Path, run: ReplayFacts, plan: Plan) -> None:
    """Raise ConfigError, a line for each problem, unless `run` can train on what `folder` holds.

    Of the iterations that share a problem the worst or the first one is named.
    """
    for line in replay_problems(folder, run.iterations):
        raise ConfigError(line)
    found: dict[str, _Problem] = {}
    for iteration in range(run.iterations):
        saved = read_iteration(folder, iteration)
        for problem in _problems(saved, run, plan, f"iteration {iteration} of {folder}"):
            known = found.get(problem.kind)
            if known is None or known.size < problem.size:
                found[problem.kind] = problem
    if found:
        raise ConfigError("\n".join(problem.line for problem in found.values()))


def check_iteration(
    saved: SavedIteration, folder: Path, iteration: int, run: ReplayFacts, plan: Plan
) -> None:
    """The same for one iteration that has been read already."""
    found = list(_problems(saved, run, plan, f"iteration {iteration} of {folder}"))
    if found:
        raise ConfigError("\n".join(problem.line for problem in found))


@dataclass(frozen=True, slots=True)
class _Problem:
    kind: str
    line: str
    size: int = 0  # the largest one is the one to tell


def _problems(
    saved: SavedIteration, run: ReplayFacts, plan: Plan, where: str
) -> Iterator[_Problem]:
    rollouts = [rollout for group in saved.groups for rollout in group.rollouts]
    samples = [sample for rollout in rollouts for sample in rollout.samples]
    found = [
        *_distribution_problems(saved, run, where),
        *_step_problems(saved.groups, run, where),
        *_value_problems(rollouts, run, where),
        *_length_problems(samples, run, where),
        *_token_problems(samples, run, where),
    ]
    yield from found
    if not found:
        try:
            plan(list(saved.groups))
        except ValueError as refused:
            yield _Problem("plan", f"{run.key}: {where}: {refused}; save it again")


def _distribution_problems(
    saved: SavedIteration, run: ReplayFacts, where: str
) -> Iterator[_Problem]:
    for name, wanted, sampled in (
        ("temperature", run.temperature, saved.temperature),
        ("top_p", run.top_p, saved.top_p),
    ):
        if wanted != sampled:
            yield _Problem(
                name,
                f"rollout.{name}={wanted}: {where} ({run.key}) was sampled with "
                f"{sampled}; write rollout.{name}={sampled}",
            )


def _step_problems(groups: Sequence[Group], run: ReplayFacts, where: str) -> Iterator[_Problem]:
    if any(not group.rollouts for group in groups):
        yield _Problem("empty", f"{run.key}: {where} has a group without rollouts")
        return
    filtered = isinstance(run.filter, ZeroVarianceFilter)
    if not groups and not filtered:
        yield _Problem(
            "empty",
            f"{run.key}: {where} has no groups; a replay of what rollout/filter=zero_variance "
            f"left needs rollout/filter=zero_variance too",
        )
        return
    sizes = filtered_step_sizes if filtered else step_sizes
    try:
        sizes(len(groups), run.steps_per_iteration, run.incomplete_step)
    except StepsError as wrong:
        yield _Problem(
            "steps",
            f"steps_per_iteration={run.steps_per_iteration}: {where} ({run.key}) has "
            f"{len(groups)} groups: {wrong}",
        )


def _value_problems(
    rollouts: Sequence[Rollout], run: ReplayFacts, where: str
) -> Iterator[_Problem]:
    for rollout in rollouts:
        if not _is_finite(rollout.reward):
            yield _Problem(
                "reward",
                f"{run.key}: {where}: rollout {rollout.id} has the reward "
                f"{rollout.reward}, it must be a finite number; score it and write that down",
            )
            break
    for rollout in rollouts:
        if not _is_finite(rollout.shaping):
            yield _Problem(
                "shaping",
                f"{run.key}: {where}: rollout {rollout.id} has the shaping {rollout.shaping}, it "
                f"must be a finite number (0: none)",
            )
            break
    for rollout in rollouts:
        if any(not sample.rollout_log_probs_R.isfinite().all() for sample in rollout.samples):
            yield _Problem(
                "log-probs",
                f"{run.key}: {where}: rollout {rollout.id} has rollout_log_probs that "
                f"are not finite; write numbers, 0 where loss_mask is false",
            )
            break


def _is_finite(reward: object) -> bool:
    """The file is JSON, which may say true, "1" or a whole number of 400 digits."""
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        return False
    return abs(reward) <= sys.float_info.max


def _length_problems(samples: Sequence[Sample], run: ReplayFacts, where: str) -> Iterator[_Problem]:
    longest = max((sample.tokens for sample in samples), default=0)
    if run.parallel is not None and run.parallel.microbatches is None:
        needed, bound = run.parallel.padded(longest), run.parallel.max_tokens_per_microbatch
        if needed > bound:
            yield _Problem(
                "micro-batch",
                f"parallel.max_tokens_per_microbatch={bound}: the longest sample of {where} "
                f"({run.key}) has {longest} tokens; write "
                f"parallel.max_tokens_per_microbatch={needed} or more",
                size=longest,
            )
    if longest > run.max_positions:
        yield _Problem(
            "positions",
            f"{run.key}: the longest sample of {where} has {longest} tokens, more than "
            f"the model's {run.max_positions} positions; write model=<the model that generated it>",
            size=longest,
        )
    for sample in samples:
        if len(sample.prompt_tokens_P) == 0:
            yield _Problem(
                "prompt",
                f"{run.key}: {where}: rollout {sample.rollout_id} has a sample without "
                f"prompt tokens; every sample needs one to predict its response from",
            )
            break


def _token_problems(samples: Sequence[Sample], run: ReplayFacts, where: str) -> Iterator[_Problem]:
    ids = [
        token
        for sample in samples
        for tokens in (sample.prompt_tokens_P, sample.response_tokens_R)
        if len(tokens)
        for token in (int(tokens.min()), int(tokens.max()))
    ]
    if ids and max(ids) >= run.vocabulary_size:
        wrong = max(ids)
    elif ids and min(ids) < 0:
        wrong = min(ids)
    else:
        return
    yield _Problem(
        "token",
        f"{run.key}: {where} has the token id {wrong}, the model's are 0 to "
        f"{run.vocabulary_size - 1}: another model or tokenizer wrote it; write model=<that model>",
    )

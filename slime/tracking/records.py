"""What a run reports, as typed values with flat names; docs/metrics.md says what each means."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean, pstdev
from typing import Any

import torch

from slime.data import Finish, Group, Rollout
from slime.rollout.selection import Selection, has_variance


@dataclass(frozen=True, slots=True)
class RolloutMetrics:
    """One iteration's rollouts: all that were generated, and which of them are trained on.

    Means are over everything that was generated, so a filter does not bend their curves; they are
    None where a replayed iteration holds nothing.
    """

    reward_mean: float | None
    reward_std: float | None
    trained_reward_mean: float | None  # of what the filter left; None: it left nothing
    shaping_mean: float | None
    kl_penalty_mean: float | None  # of the rollouts that are trained on
    response_tokens_mean: float | None
    response_tokens_max: int
    prompt_tokens_mean: float | None
    truncated_fraction: float | None
    zero_variance_fraction: float | None
    reward_failures: int
    neg_logprob_mean: float
    active_tokens: int
    rollouts: int
    prompts: int
    rounds: int
    filtered_prompts: int
    unfilled_prompts: int
    dropped_prompts: int


@dataclass(frozen=True, slots=True)
class Times:
    """Wall-clock seconds of one iteration's phases, and its throughput."""

    generate_s: float
    reward_s: float
    train_s: float
    push_s: float
    checkpoint_s: float
    iteration_s: float
    response_tokens_per_s: float

    @classmethod
    def of(
        cls,
        selection: Selection,
        *,
        train_s: float,
        push_s: float,
        checkpoint_s: float,
        iteration_s: float,
    ) -> "Times":
        tokens = sum(response_lengths(rollouts_of(selection.generated)))
        return cls(
            generate_s=selection.generate_s,
            reward_s=selection.reward_s,
            train_s=train_s,
            push_s=push_s,
            checkpoint_s=checkpoint_s,
            iteration_s=iteration_s,
            response_tokens_per_s=tokens / iteration_s,
        )


@dataclass(frozen=True, slots=True)
class Recovery:
    """How often workers were started again since the run began."""

    engine_restarts: int
    trainer_restarts: int


NOTHING_LOST = Recovery(0, 0)


def rollouts_of(groups: Sequence[Group]) -> list[Rollout]:
    """The rollouts of all groups, in order."""
    return [rollout for group in groups for rollout in group.rollouts]


def response_lengths(rollouts: Sequence[Rollout]) -> list[int]:
    """Response tokens of every rollout, over all of its samples."""
    return [sum(len(s.response_tokens_R) for s in r.samples) for r in rollouts]


def rollout_metrics(
    selection: Selection, trained_prompts: int, kl_penalty_mean: float | None = 0.0
) -> RolloutMetrics:
    """Means over rollouts (not samples); zero_variance_fraction is over groups.

    trained_prompts: how many of the selected groups the iteration's steps took; the others fill no
    step and are dropped.
    """
    groups, trained = selection.generated, selection.trained
    rollouts = rollouts_of(groups)
    rewards = [_scored(r.reward) for r in rollouts]
    lengths = response_lengths(rollouts)
    return RolloutMetrics(
        reward_mean=_mean(rewards),
        reward_std=pstdev(rewards) if rewards else None,
        trained_reward_mean=_mean([_scored(r.reward) for r in rollouts_of(trained)]),
        shaping_mean=_mean([r.shaping for r in rollouts]),
        kl_penalty_mean=kl_penalty_mean,
        response_tokens_mean=_mean(lengths),
        response_tokens_max=max(lengths, default=0),
        prompt_tokens_mean=_mean([len(r.samples[0].prompt_tokens_P) for r in rollouts]),
        truncated_fraction=_mean([r.finish is Finish.length for r in rollouts]),
        zero_variance_fraction=_mean([not has_variance(group) for group in groups]),
        reward_failures=len(selection.failures),
        neg_logprob_mean=_neg_logprob_mean(groups),
        active_tokens=sum(s.active_tokens for r in rollouts for s in r.samples),
        rollouts=len(rollouts),
        prompts=len(groups),
        rounds=len(selection.rounds),
        filtered_prompts=len(groups) - len(trained),
        unfilled_prompts=selection.unfilled,
        dropped_prompts=len(trained) - trained_prompts,
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _neg_logprob_mean(groups: Sequence[Group]) -> float:
    """Over all active tokens: an estimate of the sampling distribution's entropy per token."""
    samples = [sample for rollout in rollouts_of(groups) for sample in rollout.samples]
    log_probs = [s.rollout_log_probs_R[s.loss_mask_R] for s in samples]
    log_probs_T = torch.cat([torch.zeros(0), *log_probs])
    return -log_probs_T.double().mean().item() if len(log_probs_T) else 0.0


def flat(prefix: str, record: Any) -> dict[str, Any]:
    """A record's fields as `prefix/name`."""
    return {f"{prefix}/{f.name}": getattr(record, f.name) for f in fields(record)}


def _scored(reward: float | None) -> float:
    if reward is None:
        raise ValueError("a rollout has no reward yet")
    return reward

"""What a run reports, as typed values with flat names; docs/metrics.md says what each means."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean, pstdev
from typing import Any

import torch

from slime.data import Finish, Group


@dataclass(frozen=True, slots=True)
class RolloutMetrics:
    """One iteration's rollouts, before training on them."""

    reward_mean: float
    reward_std: float
    response_tokens_mean: float
    response_tokens_max: int
    prompt_tokens_mean: float
    truncated_fraction: float
    zero_variance_fraction: float
    reward_failures: int
    neg_logprob_mean: float
    active_tokens: int
    rollouts: int
    prompts: int
    dropped_prompts: int


@dataclass(frozen=True, slots=True)
class Times:
    """Wall-clock seconds of one iteration's phases, and its throughput."""

    generate_s: float
    reward_s: float
    train_s: float
    push_s: float
    iteration_s: float
    response_tokens_per_s: float

    @classmethod
    def of(
        cls,
        groups: Sequence[Group],
        generate_s: float,
        reward_s: float,
        train_s: float,
        push_s: float,
        iteration_s: float,
    ) -> "Times":
        tokens = sum(response_lengths(groups))
        return cls(generate_s, reward_s, train_s, push_s, iteration_s, tokens / iteration_s)


def response_lengths(groups: Sequence[Group]) -> list[int]:
    """Response tokens of every rollout, over all of its samples."""
    return [sum(len(s.response_tokens_R) for s in r.samples) for g in groups for r in g.rollouts]


def rollout_metrics(
    groups: Sequence[Group], reward_failures: int, dropped_prompts: int
) -> RolloutMetrics:
    """Means over rollouts (not samples); zero_variance_fraction is over groups.

    groups: all that were generated, the dropped_prompts that no step trains on included.
    """
    rollouts = [r for g in groups for r in g.rollouts]
    rewards = [_scored(r.reward) for r in rollouts]
    lengths = response_lengths(groups)
    unanimous = [len({r.reward for r in g.rollouts}) == 1 for g in groups]
    return RolloutMetrics(
        reward_mean=fmean(rewards),
        reward_std=pstdev(rewards),
        response_tokens_mean=fmean(lengths),
        response_tokens_max=max(lengths),
        prompt_tokens_mean=fmean(len(r.samples[0].prompt_tokens_P) for r in rollouts),
        truncated_fraction=fmean(r.finish is Finish.length for r in rollouts),
        zero_variance_fraction=fmean(unanimous),
        reward_failures=reward_failures,
        neg_logprob_mean=_neg_logprob_mean(groups),
        active_tokens=sum(s.active_tokens for r in rollouts for s in r.samples),
        rollouts=len(rollouts),
        prompts=len(groups),
        dropped_prompts=dropped_prompts,
    )


def _neg_logprob_mean(groups: Sequence[Group]) -> float:
    """Over all active tokens: an estimate of the sampling distribution's entropy per token."""
    log_probs = [
        s.rollout_log_probs_R[s.loss_mask_R] for g in groups for r in g.rollouts for s in r.samples
    ]
    log_probs_T = torch.cat(log_probs)
    return -log_probs_T.double().mean().item() if len(log_probs_T) else 0.0


def flat(prefix: str, record: Any) -> dict[str, Any]:
    """A record's fields as `prefix/name`."""
    return {f"{prefix}/{f.name}": getattr(record, f.name) for f in fields(record)}


def _scored(reward: float | None) -> float:
    if reward is None:
        raise ValueError("a rollout has no reward yet")
    return reward

"""The token terms of one sample by the formulas of docs/loss.md, in float64 and plain loops.

Nothing of slime.loss is used: what that gives is measured against this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from slime.check.objectives_by_hand import token_ratios, token_term
from slime.config.schema import (
    K1,
    K2,
    K3,
    TIS,
    CorrectionConfig,
    IcePop,
    KLConfig,
    LossConfig,
)


@dataclass(frozen=True, slots=True, eq=False)
class LogProbs:
    """Of the response tokens of one sample, float64."""

    current_R: Tensor  # carries the gradient
    entropy_R: Tensor  # carries the gradient
    old_R: Tensor | None  # None: on policy
    rollout_R: Tensor
    reference_R: Tensor | None  # None: no KL term


@dataclass(frozen=True, slots=True)
class TokenSums:
    """Sums over active tokens, unweighted."""

    active_tokens: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    ratio: float = 0.0
    clip_fraction_low: float = 0.0
    clip_fraction_high: float = 0.0
    rollout_logprob_abs_diff: float = 0.0
    correction_ratio: float = 0.0
    correction_fraction: float = 0.0
    absolute_policy: float = 0.0  # of the absolute policy-gradient terms: the scale of rounding
    absolute_kl: float = 0.0
    absolute_log_probs: float = 0.0  # of trainer and rollout engine

    def __add__(self, other: "TokenSums") -> "TokenSums":
        names = [f.name for f in fields(self)]
        return TokenSums(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True, eq=False)
class SampleTerms:
    """One sample's terms summed over its active tokens, before any weight; with a graph."""

    policy: Tensor
    kl: Tensor  # without its coefficient
    entropy: Tensor
    sums: TokenSums


def sample_terms(
    loss: LossConfig, log_probs: LogProbs, mask: Sequence[bool], advantages: Sequence[float]
) -> SampleTerms:
    """Everything the loss and the metrics take from one sample.  advantages: of every token."""
    active = [t for t, is_active in enumerate(mask) if is_active]
    current_R = log_probs.current_R
    old_R = current_R.detach() if log_probs.old_R is None else log_probs.old_R
    ratios = token_ratios(loss.objective, current_R, old_R, active)
    nothing = current_R.sum() * 0  # keeps the graph of a sample without an active token
    policy, kl, entropy, sums = nothing, nothing, nothing, TokenSums()
    for t, ratio in zip(active, ratios, strict=True):
        term = token_term(loss.objective, ratio, advantages[t], current_R[t])
        mismatch = torch.exp(old_R[t] - log_probs.rollout_R[t]).item()
        factor, corrected = _correction(loss.correction, mismatch)
        token_kl = _kl(loss.kl, current_R[t], log_probs.reference_R, t)
        policy = policy + factor * term.value
        kl = kl + token_kl
        entropy = entropy + log_probs.entropy_R[t]
        sums = sums + TokenSums(
            active_tokens=1.0,
            entropy=log_probs.entropy_R[t].item(),
            kl=token_kl.item(),
            ratio=ratio.item(),
            clip_fraction_low=float(term.clipped_low),
            clip_fraction_high=float(term.clipped_high),
            rollout_logprob_abs_diff=abs(old_R[t] - log_probs.rollout_R[t]).item(),
            correction_ratio=mismatch,
            correction_fraction=float(corrected),
            absolute_policy=abs(factor * term.value.item()),
            absolute_kl=abs(token_kl.item()),
            absolute_log_probs=abs(old_R[t].item()) + abs(log_probs.rollout_R[t].item()),
        )
    return SampleTerms(policy, kl, entropy, sums)


def _correction(config: CorrectionConfig, mismatch: float) -> tuple[float, bool]:
    """-> the factor of a policy-gradient term, and whether the bound was met"""
    match config:
        case TIS():
            return min(mismatch, config.cap), mismatch > config.cap
        case IcePop():
            kept = config.low <= mismatch <= config.high
            return (mismatch if kept else 0.0), not kept
        case _:
            return 1.0, False


def _kl(config: KLConfig, current: Tensor, reference_R: Tensor | None, token: int) -> Tensor:
    if reference_R is None:
        return torch.zeros((), dtype=torch.float64)
    log_r = reference_R[token] - current
    match config:
        case K1():
            return -log_r
        case K2():
            return log_r**2 / 2
        case K3():
            return torch.exp(log_r) - 1 - log_r
        case _:
            raise TypeError(f"no formula for {type(config).__name__}")

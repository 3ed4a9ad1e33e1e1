"""The policy-gradient term of one token."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slime.config.schema import GSPO, PPO
from slime.loss.terms import Sequences, TokenTerms


@dataclass(frozen=True, slots=True)
class PPOClip:
    """-min(ratio * A, clip(ratio, 1 - low, 1 + high) * A), with a ratio for each token.

    Source: arXiv:1707.06347 eq. 7; separate bounds are arXiv:2503.14476 eq. 10 (clip-higher).
    """

    low: float
    high: float
    needs_sequences: ClassVar[bool] = False

    def ratio(self, terms: TokenTerms) -> Tensor:
        """pi_current / pi_old of each token; carries the gradient.  -> [T]

        On policy (no old log-probs) the value is exactly 1 and the gradient is that of the current
        log-prob.
        """
        old_T = terms.old_log_probs_T
        return torch.exp(
            terms.log_probs_T - (terms.log_probs_T.detach() if old_T is None else old_T)
        )

    def __call__(self, ratio_T: Tensor, advantages_T: Tensor) -> Tensor:
        """-> [T], the term to minimise."""
        clipped_T = ratio_T.clamp(1 - self.low, 1 + self.high)
        return -torch.minimum(ratio_T * advantages_T, clipped_T * advantages_T)

    def clipped_low(self, ratio_T: Tensor, advantages_T: Tensor) -> Tensor:
        """Where the lower bound has taken the gradient away.  -> [T] bool"""
        return (advantages_T < 0) & (ratio_T < 1 - self.low)

    def clipped_high(self, ratio_T: Tensor, advantages_T: Tensor) -> Tensor:
        """Where the upper bound has taken the gradient away.  -> [T] bool"""
        return (advantages_T > 0) & (ratio_T > 1 + self.high)


@dataclass(frozen=True, slots=True)
class GSPOClip(PPOClip):
    """The same with one ratio for all tokens of a sample.

    s = exp(1/M_s * sum over its M_s active tokens of (log pi_current - log pi_old))

    Source: arXiv:2507.18071 eq. 7, in its GSPO-token form (eq. 14): every active token of a sample
    has the value of s and the gradient of s * log pi of itself.  Where all of them have one weight
    and one advantage, value and gradient are those of GSPO (eq. 5).
    """

    needs_sequences: ClassVar[bool] = True

    def ratio(self, terms: TokenTerms) -> Tensor:
        """-> [T]; exactly 1 on policy.  Raises ValueError when terms.sequences is None."""
        if terms.sequences is None:
            raise ValueError("loss/objective=gspo needs whole sequences, but sequences is None")
        current_T = terms.log_probs_T
        moved_T = torch.exp(current_T - current_T.detach())  # 1, with the gradient of log pi
        if terms.old_log_probs_T is None:
            return moved_T
        log_ratio_T = (current_T - terms.old_log_probs_T).detach()
        log_s_T = _sequence_means(log_ratio_T, terms.sequences)[terms.sequences.of_token_T]
        s_T = torch.where(terms.mask_T, log_s_T.exp(), 1.0)
        return s_T.to(current_T.dtype) * moved_T


def _sequence_means(values_T: Tensor, sequences: Sequences) -> Tensor:
    """Of the values of a whole sample, wherever its tokens are, per active token.  -> [S] float64

    nan for a sample without an active token, where nothing may read it.  The count was fixed
    before the step was split, so it is that of the whole sample too.
    """
    active_S = sequences.active_tokens_S.double()
    sums_S = torch.zeros_like(active_S).index_add_(0, sequences.of_token_T, values_T.double())
    sequences.add_shards(sums_S)
    return sums_S / active_S


def build_objective(config: PPO) -> PPOClip:
    """The policy-gradient term that an objective node describes."""
    match config:
        case GSPO():
            return GSPOClip(config.clip_low, config.clip_high)
        case _:
            return PPOClip(config.clip_low, config.clip_high)

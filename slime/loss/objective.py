"""The policy-gradient term of one token."""

from dataclasses import dataclass

import torch
from torch import Tensor


def importance_ratio(log_probs_T: Tensor, old_log_probs_T: Tensor | None) -> Tensor:
    """pi_current / pi_old of each token; carries the gradient.  -> [T]

    On policy (old_log_probs_T is None) the value is exactly 1 and the gradient is that of the
    current log-prob.
    """
    old_T = log_probs_T.detach() if old_log_probs_T is None else old_log_probs_T
    return torch.exp(log_probs_T - old_T)


@dataclass(frozen=True, slots=True)
class PPOClip:
    """-min(ratio * A, clip(ratio, 1 - low, 1 + high) * A)

    Source: arXiv:1707.06347 eq. 7; separate bounds are arXiv:2503.14476 eq. 10 (clip-higher).
    """

    low: float
    high: float

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

"""The softmax of rows of logits z that are seen in pieces: sums in, slopes out.

With p = softmax(z):

    log_prob = z[target] - logsumexp(z)       d log_prob / dz = onehot(target) - p
    entropy  = -sum(p * log p)                d entropy  / dz = -p * (log p + entropy)
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LogitSums:
    """Over some logits z of each row, relative to their largest so that exp cannot overflow."""

    largest_T: Tensor  # max z
    target_T: Tensor  # z[target], 0 where the target is not among them
    total_T: Tensor  # sum exp(z - largest)
    weighted_T: Tensor  # sum exp(z - largest) * (z - largest)

    def relative_to(self, largest_T: Tensor) -> "LogitSums":
        shift_T = self.largest_T - largest_T
        scale_T = shift_T.exp()
        total_T = scale_T * self.total_T
        weighted_T = scale_T * self.weighted_T + shift_T * total_T
        return LogitSums(largest_T, self.target_T, total_T, weighted_T)

    def __add__(self, other: "LogitSums") -> "LogitSums":
        largest_T = torch.maximum(self.largest_T, other.largest_T)
        one, two = self.relative_to(largest_T), other.relative_to(largest_T)
        return LogitSums(
            largest_T,
            one.target_T + two.target_T,
            one.total_T + two.total_T,
            one.weighted_T + two.weighted_T,
        )


@dataclass(frozen=True, slots=True)
class LogitSlope:
    """d loss / d logits = onehot * target + exp(z - largest) * (level + tilt * (z - largest))

    That is g * (onehot - p) - h * p * (log p + entropy), with g and h the gradients of log-prob
    and entropy, p = exp(z - largest) / total, and 1 / temperature inside g and h.
    """

    target_T: Tensor
    level_T: Tensor
    tilt_T: Tensor | None  # None: no entropy gradient

    @classmethod
    def of(
        cls,
        log_probs_grad_T: Tensor | None,
        entropy_grad_T: Tensor | None,
        total_T: Tensor,
        entropy_T: Tensor,
        temperature: float,
    ) -> "LogitSlope":
        if log_probs_grad_T is None:
            log_probs_grad_T = torch.zeros_like(total_T)
        target_T = log_probs_grad_T / temperature
        if entropy_grad_T is None:
            return cls(target_T, -target_T / total_T, None)
        entropy_slope_T = entropy_grad_T / temperature
        level_T = -(target_T + entropy_slope_T * (entropy_T - total_T.log())) / total_T
        return cls(target_T, level_T, -entropy_slope_T / total_T)

    def of_softmax(self, shifted_TC: Tensor) -> Tensor:
        """The part without onehot, for shifted = z - largest, which is overwritten.  -> [T, C]"""
        level_T1 = self.level_T[:, None]
        if self.tilt_T is None:
            return shifted_TC.exp_().mul_(level_T1)
        exp_TC = shifted_TC.exp()
        return exp_TC.mul_(shifted_TC.mul_(self.tilt_T[:, None]).add_(level_T1))

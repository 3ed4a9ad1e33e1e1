"""What becomes of a policy-gradient term where rollout engine and trainer disagree about a token.

The engine sampled the token, but the gradient is that of the trainer's policy.  Their ratio

    c = pi_old / pi_rollout    (of the trainer before the step over the engine, without a gradient)

says by how much.  The factors below stand in the numerator of the loss only: weights, KL, entropy
and metrics are those of the tokens that were active before.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from slime.config.schema import TIS, CorrectionConfig, IcePop


class Correction(Protocol):
    """From the ratios c [T] of a micro-batch's tokens to what is done about them."""

    def factor(self, ratio_T: Tensor) -> Tensor:
        """-> [T], what the policy-gradient term is multiplied by; 0 takes it away."""

    def changed(self, ratio_T: Tensor) -> Tensor:
        """-> [T] bool, the tokens where a bound took effect."""


@dataclass(frozen=True, slots=True)
class NoCorrection:
    """1: the engine's log-probs are taken for the trainer's."""

    def factor(self, ratio_T: Tensor) -> Tensor:
        return torch.ones_like(ratio_T)

    def changed(self, ratio_T: Tensor) -> Tensor:
        return torch.zeros_like(ratio_T, dtype=torch.bool)


@dataclass(frozen=True, slots=True)
class Truncated:
    """min(c, cap), truncated importance sampling.

    Source: F. Yao et al., "Your efficient RL framework secretly brings you off-policy RL training"
    (2025), https://fengyao.notion.site/off-policy-rl.
    """

    cap: float

    def factor(self, ratio_T: Tensor) -> Tensor:
        return ratio_T.clamp(max=self.cap)

    def changed(self, ratio_T: Tensor) -> Tensor:
        return ratio_T > self.cap


@dataclass(frozen=True, slots=True)
class Popped:
    """c where low <= c <= high, else 0.  Source: IcePop, Ring-1T, arXiv:2510.18855."""

    low: float
    high: float

    def factor(self, ratio_T: Tensor) -> Tensor:
        return torch.where(self.changed(ratio_T), 0.0, ratio_T)

    def changed(self, ratio_T: Tensor) -> Tensor:
        # Not the complement of "within": a nan is within, so that it is not hidden.
        return (ratio_T < self.low) | (ratio_T > self.high)


def build_correction(config: CorrectionConfig) -> Correction:
    """The correction that a correction node describes."""
    match config:
        case TIS():
            return Truncated(config.cap)
        case IcePop():
            return Popped(config.low, config.high)
        case _:
            return NoCorrection()

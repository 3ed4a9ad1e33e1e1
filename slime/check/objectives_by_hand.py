"""The policy-gradient term of one token, for each loss/objective, by the formulas of docs/loss.md.

Nothing of slime.loss is used: what that gives is measured against this.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slime.config.schema import CISPO, GSPO, PPO, SFT, ObjectiveConfig, Reinforce


@dataclass(frozen=True, slots=True, eq=False)
class TokenTerm:
    """What the step loss adds up (with a graph), and which bound of the ratio took effect."""

    value: Tensor
    clipped_low: bool = False
    clipped_high: bool = False


def token_ratios(
    objective: ObjectiveConfig, current_R: Tensor, old_R: Tensor, active: Sequence[int]
) -> list[Tensor]:
    """Of each active token: its own, or under GSPO the geometric mean of all of them.

    GSPO-token (arXiv:2507.18071 eq. 14): the value of the mean, the gradient of the token.
    """
    match objective:
        case SFT():
            return [torch.ones((), dtype=torch.float64) for _ in active]
        case GSPO():
            mean = sum((current_R[t] - old_R[t]).item() for t in active) / max(len(active), 1)
            return [math.exp(mean) * torch.exp(current_R[t] - current_R[t].item()) for t in active]
        case _:
            return [torch.exp(current_R[t] - old_R[t]) for t in active]


def token_term(
    objective: ObjectiveConfig, ratio: Tensor, advantage: float, log_prob: Tensor
) -> TokenTerm:
    """ratio and log_prob: of the token, scalars with a graph."""
    match objective:
        case PPO() | GSPO():
            dual = objective.dual_clip if isinstance(objective, PPO) else None
            low, high = 1 - objective.clip_low, 1 + objective.clip_high
            return _clipped(ratio, advantage, low, high, math.inf if dual is None else dual)
        case CISPO():
            low, high = 1 - objective.clip_low, 1 + objective.clip_high
            weight = min(max(ratio.item(), low), high)
            value = -weight * advantage * log_prob
            return TokenTerm(value, ratio.item() < low, ratio.item() > high)
        case Reinforce():
            return TokenTerm(-ratio * advantage)
        case SFT():
            return TokenTerm(-log_prob)
        case _:
            raise TypeError(f"no formula for {type(objective).__name__}")


def _clipped(ratio: Tensor, advantage: float, low: float, high: float, dual: float) -> TokenTerm:
    """PPO's (arXiv:1707.06347 figure 1); dual bounds bad actions (arXiv:1912.09729 figure 2)."""
    if advantage < 0 and ratio.item() < low:
        return TokenTerm(torch.full_like(ratio, -low * advantage), clipped_low=True)
    if advantage > 0 and ratio.item() > high:
        return TokenTerm(torch.full_like(ratio, -high * advantage), clipped_high=True)
    if advantage < 0 and ratio.item() > dual:
        return TokenTerm(torch.full_like(ratio, -dual * advantage), clipped_high=True)
    return TokenTerm(-ratio * advantage)

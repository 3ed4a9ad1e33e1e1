"""The estimators: from rewards to advantages, before anything is whitened.

A rollout counts once, however many samples it consists of: the baseline and the loss count the
same units.  All arithmetic is in float64.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def grpo(rewards: Sequence[float], *, epsilon: float) -> list[float]:
    """(r - mean) / (std + epsilon), within one group.

    Source: arXiv:2402.03300 section 4.1.2, which leaves the kind of standard deviation open.  This
    is the sample one (divided by G - 1), as in TRL and verl.  Where it is zero or undefined (equal
    rewards, a group of one) every advantage is exactly 0.
    """
    if len(set(rewards)) <= 1:
        return [0.0] * len(rewards)
    centred = dr_grpo(rewards)
    deviation = math.sqrt(math.fsum(c * c for c in centred) / (len(rewards) - 1))
    return [c / (deviation + epsilon) for c in centred]


def dr_grpo(rewards: Sequence[float]) -> list[float]:
    """r - mean, within one group.  Source: arXiv:2503.20783 section 3.2.

    Equal rewards, and a group of one, give exactly 0.
    """
    if len(set(rewards)) <= 1:  # the mean of three times 0.1 is not 0.1
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def rloo(rewards: Sequence[float]) -> list[float]:
    """r - mean of the other G - 1 of the group (leave one out).  Source: arXiv:2402.14740, RLOO.

    Equal rewards, and a group of one, give exactly 0.
    """
    others = len(rewards) - 1
    # r - (sum - r) / (G - 1) = (r - mean) * G / (G - 1)
    return [centred * len(rewards) / others if others else 0.0 for centred in dr_grpo(rewards)]


def returns_to_go(reward: float, penalties: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """reward - sum of the penalties of a token and of all after it, discounted by nothing.

    Source: REINFORCE++, arXiv:2501.03262, A_t = r - beta * sum over i >= t of KL_i.  The samples of
    a rollout follow each other in their order.
    -> [R] float64 for each of them
    """
    after = torch.zeros((), dtype=torch.float64)
    found: list[Tensor] = []
    for penalties_R in reversed(penalties):
        to_go_R = penalties_R.flip(0).cumsum(0).flip(0) + after
        after = after + penalties_R.sum()
        found.append(reward - to_go_R)
    return tuple(reversed(found))

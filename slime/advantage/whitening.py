"""Whitening: (A - mean) / (std + epsilon) over a whole optimizer step.

Over its rollouts: ScaleRL, arXiv:2510.13786 section 3.2.  Over its active tokens: REINFORCE++,
arXiv:2501.03262, where a long rollout has more of them and moves the mean more.  Both are done
before the step is split, so they are the same on any layout.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from slime.advantage.advantages import PerToken, rollouts_of
from slime.data import Group

_ROUNDING = 1e-12  # relative; a mean of float64 numbers is no better than that


def standardised(values_N: Tensor, epsilon: float) -> Tensor:
    """(values - mean) / (std + epsilon), with the population standard deviation (divided by N).

    Equal values, and a single one, give exactly 0.  So does 0 where the mean is rounding and
    nothing else, as of rewards that groups have centred: their idle rollouts stay idle.
    -> [N] float64
    """
    if len(values_N) == 0 or bool((values_N == values_N[0]).all()):
        return torch.zeros_like(values_N)
    mean = values_N.mean()
    centred_N = values_N - torch.where(mean.abs() < _ROUNDING * values_N.abs().mean(), 0.0, mean)
    return centred_N / (centred_N.square().mean().sqrt() + epsilon)


def over_rollouts(of_rollout: Mapping[int, float], epsilon: float) -> dict[int, float]:
    """Every rollout counts once, those without an active token too."""
    values_N = torch.tensor(list(of_rollout.values()), dtype=torch.float64)
    return dict(zip(of_rollout, standardised(values_N, epsilon).tolist(), strict=True))


def over_tokens(groups: Sequence[Group], of_token: PerToken, epsilon: float) -> PerToken:
    """Every active token counts once; masked ones neither count nor change: they stay 0."""
    rollouts = rollouts_of(groups)
    masks = [sample.loss_mask_R for rollout in rollouts for sample in rollout.samples]
    values = [values_R for rollout in rollouts for values_R in of_token[rollout.id]]
    if not masks:
        return of_token
    mask_T, values_T = torch.cat(masks), torch.cat(values)
    whitened_T = torch.zeros_like(values_T)
    whitened_T[mask_T] = standardised(values_T[mask_T], epsilon)
    parts = iter(torch.split(whitened_T, [len(values_R) for values_R in values]))
    return {r.id: tuple(next(parts) for _ in r.samples) for r in rollouts}

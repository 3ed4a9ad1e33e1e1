"""A user's own aggregation."""

import torch
from torch import Tensor

from slime.data import StepShape


def by_root(step: StepShape) -> Tensor:
    """1 / (P * sqrt(M_rollout)): longer rollouts count more, but less than in proportion."""
    assert step.prompt_ids is not None
    ids_U, of_sample_S = torch.unique(step.rollout_ids, return_inverse=True)
    tokens_U = torch.zeros(len(ids_U), dtype=torch.float64)
    tokens_U.index_add_(0, of_sample_S, step.active_tokens.double())
    prompts = len(torch.unique(step.prompt_ids))
    weights_S = 1 / (prompts * tokens_U[of_sample_S].sqrt())
    return torch.where(step.active_tokens > 0, weights_S, 0.0)

"""The shape of an optimizer step: all that the loss weights may depend on."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class StepShape:
    """Active-token counts and ids of the S samples of one whole step, before any split.

    active_tokens [S], rollout_ids [S], prompt_ids [S] or None: integer tensors on the CPU.
    Raises ValueError when lengths or dtypes disagree, or a rollout belongs to two prompts.
    """

    active_tokens: Tensor
    rollout_ids: Tensor
    prompt_ids: Tensor | None = None

    def __post_init__(self) -> None:
        size = self.active_tokens.shape
        if len(size) != 1:
            raise ValueError(f"active_tokens must be one-dimensional, got shape {tuple(size)}")
        for name in ("active_tokens", "rollout_ids", "prompt_ids"):
            values = getattr(self, name)
            if values is None:
                continue
            if values.shape != size:
                raise ValueError(f"{name} has shape {tuple(values.shape)}, expected {tuple(size)}")
            if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
                raise ValueError(f"{name} must hold integers, got {values.dtype}")
        if (self.active_tokens < 0).any():
            raise ValueError("active_tokens must not be negative")
        self._one_prompt_per_rollout()

    def _one_prompt_per_rollout(self) -> None:
        if self.prompt_ids is None:
            return
        rollouts_U, of_sample_S = torch.unique(self.rollout_ids, return_inverse=True)
        a_prompt_U = self.prompt_ids.new_empty(len(rollouts_U))
        a_prompt_U.scatter_(0, of_sample_S, self.prompt_ids)
        differs_S = a_prompt_U[of_sample_S] != self.prompt_ids
        if differs_S.any():
            torn = self.rollout_ids[differs_S][0].item()
            raise ValueError(f"rollout {torn} has samples of more than one prompt")

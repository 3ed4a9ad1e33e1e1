"""A model in float64 by transformers, one sequence at a time: what a trainer is measured against.

It shares nothing with the trainer but the weights: no packing, no padding, no megatron.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from slime.model.quiet import quiet_transformers


class ExactModel:
    """A Hugging Face folder on the CPU, its weights rounded to `precision` and held in float64.

    Only the rotary angles are float32: that is how transformers and megatron define them.
    """

    def __init__(self, folder: Path, precision: torch.dtype) -> None:
        quiet_transformers()
        # sdpa: the eager attention of transformers takes its softmax in float32.  eager: grouped
        # products of experts are for some widths only.
        rounded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=precision,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
            experts_implementation="eager",
        )
        self._model: Any = rounded.to(torch.float64)
        for module in self._model.modules():
            for name, child in module.named_children():
                if type(child).__name__.endswith("RMSNorm"):
                    setattr(module, name, _RMSNorm(child.weight, child.variance_epsilon))
        self._model.eval()

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """By Hugging Face names; a tied output layer comes once, as the embedding."""
        return dict(self._model.named_parameters())

    def logits(self, tokens_T: Tensor) -> Tensor:
        """-> [T, V] float64, with a graph where gradients are enabled."""
        logits_TV: Tensor = self._model(input_ids=tokens_T[None], use_cache=False).logits[0]
        return logits_TV


class _RMSNorm(nn.Module):
    """In the dtype of its input; that of transformers goes through float32."""

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.epsilon = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        mean_square = hidden.square().mean(-1, keepdim=True)
        return self.weight * hidden * torch.rsqrt(mean_square + self.epsilon)

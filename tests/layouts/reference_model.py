"""A transformers model in float64, one sample at a time: log-probs, entropies, gradients."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch


@cache
def reference_model(folder: Path, temperature: float, stored: torch.dtype) -> "ReferenceModel":
    return ReferenceModel(folder, temperature, stored)


class ReferenceModel:
    def __init__(self, folder: Path, temperature: float, stored: torch.dtype) -> None:
        """stored: the dtype that the trainer keeps its weights in; they are rounded to it."""
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        # sdpa: the other attention of transformers has its softmax in float32.
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="sdpa"
        )
        _compute_in_float64(self._model)
        self._temperature = temperature
        with torch.no_grad():
            for parameter in self._model.parameters():
                parameter.copy_(parameter.to(stored))

    def read(self, sample: Any) -> tuple[np.ndarray, np.ndarray]:
        """-> log-prob and entropy of each response token [R]"""
        with torch.no_grad():
            log_probs_R, entropy_R = self._response(sample)
        return log_probs_R.numpy(), entropy_R.numpy()

    def gradient(
        self,
        samples: Sequence[Any],
        log_prob_slopes: Sequence[np.ndarray],
        entropy_slopes: Sequence[np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Of sum of slope x (log-prob or entropy), for every parameter."""
        self._model.zero_grad()
        for sample, *slopes in zip(samples, log_prob_slopes, entropy_slopes, strict=True):
            if any(slope_R.any() for slope_R in slopes):
                outputs = self._response(sample)
                torch.autograd.backward(outputs, [torch.from_numpy(s) for s in slopes])
        return {
            name: np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
            for name, parameter in self._model.named_parameters()
        }

    def weights(self) -> dict[str, np.ndarray]:
        return {name: p.detach().numpy() for name, p in self._model.named_parameters()}

    def _response(self, sample: Any) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.cat([sample.prompt_tokens_P, sample.response_tokens_R])
        prompt = len(sample.prompt_tokens_P)
        logits = self._model(tokens[None]).logits[0] / self._temperature
        table = logits[prompt - 1 : len(tokens) - 1].log_softmax(-1)
        chosen = table.gather(1, sample.response_tokens_R[:, None])[:, 0]
        return chosen, -(table.exp() * table).sum(-1)


def _compute_in_float64(model: torch.nn.Module) -> None:
    """transformers takes norms and rotary angles through float32, whatever the weights are."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(_norm, module)
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.forward = partial(_rotary, module)


def _norm(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    size = (hidden**2).mean(-1, keepdim=True) + module.variance_epsilon
    return module.weight * hidden / size.sqrt()


def _rotary(
    module: Any, hidden: torch.Tensor, position_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    angles = position_ids[..., None].to(hidden.dtype) * module.inv_freq.to(hidden.dtype)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()

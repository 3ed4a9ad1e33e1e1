"""RMSNorm as megatron's layers expect it, on any device."""

from typing import Any

import torch
from megatron.core.transformer import TransformerConfig


class RMSNorm(torch.nn.RMSNorm):
    """torch's RMSNorm, whose weight tells megatron whether activations are sequence parallel.

    megatron's own wrapper of the torch norm refuses sequence parallelism; all that it takes is
    this mark, by which the gradients of the weight are summed over the tensor-parallel group.
    """

    def __init__(
        self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any
    ) -> None:
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

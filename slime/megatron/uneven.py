"""Gathering and scattering parts of different lengths on gloo, which knows equal lengths only.

The workers that share an expert's layers have different numbers of tokens for it.  NCCL exchanges
them as they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn.functional import pad


def gathering(original: Callable[..., Any]) -> Callable[..., Any]:
    """megatron's gather along the first dimension, through parts of the longest length."""

    def gather(
        part: Tensor, group: Any, output_split_sizes: Sequence[int] | None = None, *rest: Any
    ) -> Any:
        if output_split_sizes is None or group.size() == 1:
            return original(part, group, output_split_sizes, *rest)
        longest = max(output_split_sizes)
        padded = pad(part, [0, 0] * (part.dim() - 1) + [0, longest - len(part)])
        parts = [torch.empty_like(padded) for _ in output_split_sizes]
        distributed.all_gather(parts, padded.contiguous(), group=group)
        return torch.cat([p[:n] for p, n in zip(parts, output_split_sizes, strict=True)])

    return gather


def scattering(original: Callable[..., Any]) -> Callable[..., Any]:
    """megatron's reduce-scatter along the first dimension, through the sum of everything."""

    def scatter(
        whole: Tensor, group: Any, input_split_sizes: Sequence[int] | None = None, *rest: Any
    ) -> Any:
        if input_split_sizes is None or group.size() == 1:
            return original(whole, group, input_split_sizes, *rest)
        total = whole.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=group)
        return torch.split(total, list(input_split_sizes))[group.rank()].clone()

    return scatter

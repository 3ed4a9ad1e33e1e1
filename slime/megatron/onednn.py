"""Megatron's linear layers through oneDNN, where that is faster: float32 on a CPU.

`slime.model.onednn` says why.  Forward and both products of the backward pass take the same way; on
one EPYC core at 1,500 rows of a 135M model they run at 170-210 instead of 90-95 GFLOP/s.
"""

from typing import Any

import torch
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from slime.model import onednn


class _Linear(torch.autograd.Function):
    """rows [..., I] times weight [O, I] transposed, plus bias [O] or None: -> [..., O]"""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        return onednn.linear(weight, bias, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        flat_grad_TO, flat_rows_TI = grad.flatten(0, -2), rows.flatten(0, -2)
        rows_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            rows_grad = onednn.linear(weight.t(), None, grad)
        if ctx.needs_input_grad[1]:
            weight_grad = onednn.linear(flat_rows_TI.t(), None, flat_grad_TO.t())
        if ctx.has_bias and ctx.needs_input_grad[2]:
            bias_grad = flat_grad_TO.sum(0)
        return rows_grad, weight_grad, bias_grad


def _forward(*, input: Tensor, weight: Tensor, bias: Tensor | None, **_: Any) -> Tensor:
    """Takes the place of a megatron layer's own product; the names are megatron's."""
    output: Tensor = _Linear.apply(input, weight, bias)  # type: ignore[no-untyped-call]
    return output


def runs_faster_with_onednn(
    device: torch.device, dtype: torch.dtype, tensor_parallel_size: int
) -> bool:
    """Not with tensor parallelism: megatron's own products go with its collectives there."""
    fits = device.type == "cpu" and dtype == torch.float32 and tensor_parallel_size == 1
    return fits and onednn.is_available()


def multiply_with_onednn(model: nn.Module) -> None:
    """Let every linear layer of `model` multiply through oneDNN."""
    for module in model.modules():
        if isinstance(module, ColumnParallelLinear | RowParallelLinear):
            module._forward_impl = _forward

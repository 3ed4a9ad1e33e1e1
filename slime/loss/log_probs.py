"""Log-probs and entropy of the policy, straight from hidden states and the output weight.

The vocabulary is taken a chunk at a time, and the logits of a chunk are computed again in the
backward pass: the [T, V] float32 log-softmax, the largest tensor of ordinary training code, never
exists.

Chunks of the vocabulary rather than of the tokens: a chunk's rows of the weight gradient are then
finished in one product, and what is added up over chunks is small, the gradient of the hidden
states and a few numbers a token.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slime.loss.products import product, wide
from slime.loss.softmax import LogitSlope, LogitSums


@dataclass(frozen=True, slots=True)
class VocabularyShard:
    """Which rows of the output weight this process holds, and how to reduce over all of them.

    all_reduce_sum and all_reduce_max work in place on a tensor; every process of the shard group
    calls them in the same order and on the same shapes.
    """

    first_token: int
    all_reduce_sum: Callable[[Tensor], None]
    all_reduce_max: Callable[[Tensor], None]


def _nobody_else(_: Tensor) -> None:
    pass


WHOLE_VOCABULARY = VocabularyShard(0, _nobody_else, _nobody_else)

# 16 MiB of float32, which stay in the caches and which malloc reuses; from 32 MiB up it returns
# them to the kernel, and clearing them anew costs more than the arithmetic.
_CPU_CHUNK_ELEMENTS = 2**22
# 64 MiB: each kernel takes far longer than its launch.
_GPU_CHUNK_ELEMENTS = 2**24


def log_probs_and_entropy(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    *,
    temperature: float,
    shard: VocabularyShard = WHOLE_VOCABULARY,
    chunk_elements: int | None = None,
    entropy_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of its distribution.  -> [T], [T], at least float32.

    weight_VH holds the rows of `shard`, targets_T int64 tokens of the whole vocabulary; hidden_TH
    is the same on every process of the shard group, and so are the results and its gradient.
    With the whole vocabulary here, a target outside of it (-100, say) has the log-prob nan.
    entropy_gradient=False returns the entropy without a graph and makes the backward pass cheaper.
    chunk_elements bounds the logits that exist at a time (at least one token of the vocabulary,
    for all T rows); None: what is fast on the device.
    Raises ValueError when temperature or chunk_elements is not > 0, and when shapes or dtypes do
    not match.
    """
    if chunk_elements is None:
        chunk_elements = _GPU_CHUNK_ELEMENTS if hidden_TH.is_cuda else _CPU_CHUNK_ELEMENTS
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if chunk_elements < 1:
        raise ValueError(f"chunk_elements must be at least 1, got {chunk_elements}")
    if targets_T.shape != hidden_TH.shape[:1]:
        raise ValueError(
            f"targets_T has shape {tuple(targets_T.shape)}, expected {tuple(hidden_TH.shape[:1])}"
        )
    if hidden_TH.shape[1:] != weight_VH.shape[1:]:
        raise ValueError(
            f"hidden_TH has shape {tuple(hidden_TH.shape)}, weight_VH {tuple(weight_VH.shape)}: "
            f"their last dimensions differ"
        )
    if hidden_TH.dtype != weight_VH.dtype:
        raise ValueError(f"hidden_TH is {hidden_TH.dtype}, but weight_VH {weight_VH.dtype}")
    output = _Output(temperature, shard, chunk_elements)
    log_probs_T, entropy_T = _LogProbsAndEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_TH, weight_VH, targets_T, output, entropy_gradient
    )
    if shard is WHOLE_VOCABULARY:
        known_T = (targets_T >= 0) & (targets_T < len(weight_VH))
        log_probs_T = torch.where(known_T, log_probs_T, torch.nan)
    return log_probs_T, entropy_T


@dataclass(frozen=True, slots=True)
class _Output:
    """The output layer: how logits are made, a chunk of the vocabulary at a time."""

    temperature: float
    shard: VocabularyShard
    chunk_elements: int

    def chunks(self, hidden_TH: Tensor, weight_VH: Tensor) -> Iterator[slice]:
        """Rows of weight_VH, so many that neither [T, C] nor [C, H] exceeds chunk_elements."""
        size = max(1, self.chunk_elements // max(1, *hidden_TH.shape))
        for start in range(0, len(weight_VH), size):
            yield slice(start, min(start + size, len(weight_VH)))

    def logits(self, hidden_TH: Tensor, weight_CH: Tensor) -> Tensor:
        """-> z [T, C] in at least float32, a buffer that the caller may overwrite."""
        logits_TC = product(hidden_TH, weight_CH.t())
        return logits_TC if self.temperature == 1 else logits_TC.div_(self.temperature)

    def targets_in(self, chunk: slice, targets_T: Tensor) -> tuple[Tensor, Tensor]:
        """-> each target's column in the chunk [T, 1], and whether it has one [T] (else 0)."""
        columns_T = targets_T - (self.shard.first_token + chunk.start)
        here_T = (columns_T >= 0) & (columns_T < chunk.stop - chunk.start)
        return columns_T.where(here_T, 0)[:, None], here_T


class _LogProbsAndEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TH: Tensor,
        weight_VH: Tensor,
        targets_T: Tensor,
        output: _Output,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        sums = _sums_of_this_shard(hidden_TH, weight_VH, targets_T, output)
        sums = _sums_of_all_shards(sums, output.shard)
        log_total_T = sums.total_T.log()
        log_probs_T = sums.target_T - sums.largest_T - log_total_T
        entropy_T = log_total_T - sums.weighted_T / sums.total_T
        # Nothing is kept by autograd when no input requires a gradient.
        ctx.save_for_backward(
            hidden_TH, weight_VH, targets_T, sums.largest_T, sums.total_T, entropy_T
        )
        ctx.output = output
        ctx.set_materialize_grads(False)
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy_T)
        return log_probs_T, entropy_T

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, log_probs_grad_T: Tensor | None, entropy_grad_T: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden_TH, weight_VH, targets_T, largest_T, total_T, entropy_T = ctx.saved_tensors
        output: _Output = ctx.output
        slope = LogitSlope.of(
            log_probs_grad_T, entropy_grad_T, total_T, entropy_T, output.temperature
        )

        hidden_grad_TH, weight_grad_VH = None, None
        if ctx.needs_input_grad[0]:
            # At least float32: in bfloat16 the sum over many chunks would lose the small ones.
            hidden_grad_TH = torch.zeros_like(hidden_TH, dtype=wide(hidden_TH.dtype))
        if ctx.needs_input_grad[1]:
            weight_grad_VH = torch.empty_like(weight_VH)
        for chunk in output.chunks(hidden_TH, weight_VH):
            logits_TC = output.logits(hidden_TH, weight_VH[chunk])
            grad_TC = slope.of_softmax(logits_TC.sub_(largest_T[:, None]))
            columns_T1, here_T = output.targets_in(chunk, targets_T)
            grad_TC.scatter_add_(1, columns_T1, slope.target_T.where(here_T, 0.0)[:, None])
            if hidden_grad_TH is not None:
                hidden_grad_TH += product(grad_TC, weight_VH[chunk])
            if weight_grad_VH is not None:
                weight_grad_VH[chunk] = product(grad_TC.t(), hidden_TH)

        if hidden_grad_TH is not None:
            output.shard.all_reduce_sum(hidden_grad_TH)
            hidden_grad_TH = hidden_grad_TH.to(hidden_TH.dtype)
        return hidden_grad_TH, weight_grad_VH, None, None, None


def _sums_of_this_shard(
    hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor, output: _Output
) -> LogitSums:
    def sums_of(chunk: slice) -> LogitSums:
        logits_TC = output.logits(hidden_TH, weight_VH[chunk])
        columns_T1, here_T = output.targets_in(chunk, targets_T)
        target_T = logits_TC.gather(1, columns_T1)[:, 0].where(here_T, 0.0)
        largest_T = logits_TC.amax(1)
        shifted_TC = logits_TC.sub_(largest_T[:, None])
        exp_TC = shifted_TC.exp()
        total_T = exp_TC.sum(1)
        return LogitSums(largest_T, target_T, total_T, exp_TC.mul_(shifted_TC).sum(1))

    return reduce(LogitSums.__add__, map(sums_of, output.chunks(hidden_TH, weight_VH)))


def _sums_of_all_shards(own: LogitSums, shard: VocabularyShard) -> LogitSums:
    """Two collectives for all T rows: the largest logit, then the sums relative to it."""
    largest_T = own.largest_T.clone()
    shard.all_reduce_max(largest_T)
    own = own.relative_to(largest_T)
    sums_3T = torch.stack([own.target_T, own.total_T, own.weighted_T])
    shard.all_reduce_sum(sums_3T)
    return LogitSums(largest_T, *sums_3T)

"""Log-probs and entropy of the policy, straight from hidden states and the output weight.

Logits exist for chunk_rows tokens at a time and are computed again in the backward pass: the full
[T, V] float32 log-softmax, the largest tensor of ordinary training code, never exists.

With z the logits divided by the temperature and p = softmax(z):

    log_prob = z[target] - logsumexp(z)       d log_prob / dz = onehot(target) - p
    entropy  = -sum(p * log p)                d entropy  / dz = -p * (log p + entropy)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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


def log_probs_and_entropy(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    *,
    temperature: float,
    shard: VocabularyShard = WHOLE_VOCABULARY,
    chunk_rows: int = 512,
    entropy_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of its distribution.  -> [T], [T], at least float32.

    weight_VH holds the rows of `shard`, targets_T int64 tokens of the whole vocabulary; hidden_TH
    is the same on every process of the shard group, and so are the results and its gradient.
    entropy_gradient=False returns the entropy without a graph and makes the backward pass cheaper.
    Raises ValueError when temperature or chunk_rows is not > 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}")
    if targets_T.shape != hidden_TH.shape[:1]:
        raise ValueError(
            f"targets_T has shape {tuple(targets_T.shape)}, expected {tuple(hidden_TH.shape[:1])}"
        )
    output = _Output(temperature, shard, chunk_rows)
    log_probs_T, entropy_T = _LogProbsAndEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_TH, weight_VH, targets_T, output, entropy_gradient
    )
    return log_probs_T, entropy_T


@dataclass(frozen=True, slots=True)
class _Output:
    """The output layer: how logits are made, a chunk of rows at a time."""

    temperature: float
    shard: VocabularyShard
    chunk_rows: int

    def chunks(self, rows: int) -> Iterator[slice]:
        for start in range(0, rows, self.chunk_rows):
            yield slice(start, start + self.chunk_rows)

    def logits(self, hidden_CH: Tensor, weight_VH: Tensor) -> Tensor:
        """-> z [C, V] in at least float32, a buffer that the caller may overwrite."""
        logits_CV = torch.mm(hidden_CH, weight_VH.t()).to(_precision(hidden_CH))
        return logits_CV if self.temperature == 1 else logits_CV.div_(self.temperature)

    def rows_of(self, targets_T: Tensor, weight_VH: Tensor) -> tuple[Tensor, Tensor]:
        """-> row of weight_VH [T], and whether it is on this shard [T] (else the row is 0)."""
        rows_T = targets_T - self.shard.first_token
        here_T = (rows_T >= 0) & (rows_T < len(weight_VH))
        return rows_T.where(here_T, 0), here_T


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
        slope = _Slope.of(log_probs_grad_T, entropy_grad_T, total_T, entropy_T, output.temperature)
        target_rows_T, here_T = output.rows_of(targets_T, weight_VH)
        target_slope_T = slope.target_T.where(here_T, 0.0)

        hidden_grad_TH, weight_grad_VH = None, None
        if ctx.needs_input_grad[0]:
            hidden_grad_TH = torch.empty_like(hidden_TH)
        if ctx.needs_input_grad[1]:
            # At least float32: in bfloat16 the sum over many chunks would lose the small ones.
            weight_grad_VH = torch.zeros_like(weight_VH, dtype=_precision(weight_VH))
        for rows in output.chunks(len(hidden_TH)):
            logits_CV = output.logits(hidden_TH[rows], weight_VH)
            grad_CV = slope.of_softmax(logits_CV.sub_(largest_T[rows, None]), rows)
            grad_CV.scatter_add_(1, target_rows_T[rows, None], target_slope_T[rows, None])
            grad_CV = grad_CV.to(weight_VH.dtype)
            if hidden_grad_TH is not None:
                torch.mm(grad_CV, weight_VH, out=hidden_grad_TH[rows])
            if weight_grad_VH is not None:
                _add_product(weight_grad_VH, grad_CV.t(), hidden_TH[rows])

        if hidden_grad_TH is not None:
            output.shard.all_reduce_sum(hidden_grad_TH)
        if weight_grad_VH is not None:
            weight_grad_VH = weight_grad_VH.to(weight_VH.dtype)
        return hidden_grad_TH, weight_grad_VH, None, None, None


@dataclass(frozen=True, slots=True)
class _Sums:
    """Over the logits z of a row, relative to the largest one so that exp cannot overflow."""

    largest_T: Tensor  # max z
    target_T: Tensor  # z[target]
    total_T: Tensor  # sum exp(z - largest)
    weighted_T: Tensor  # sum exp(z - largest) * (z - largest)


def _sums_of_this_shard(
    hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor, output: _Output
) -> _Sums:
    largest_T, target_T, total_T, weighted_T = torch.empty(
        4, len(hidden_TH), dtype=_precision(hidden_TH), device=hidden_TH.device
    )
    target_rows_T, here_T = output.rows_of(targets_T, weight_VH)
    for rows in output.chunks(len(hidden_TH)):
        logits_CV = output.logits(hidden_TH[rows], weight_VH)
        target_T[rows] = logits_CV.gather(1, target_rows_T[rows, None])[:, 0]
        largest_T[rows] = logits_CV.amax(1)
        logits_CV.sub_(largest_T[rows, None])
        exp_CV = logits_CV.exp()
        total_T[rows] = exp_CV.sum(1)
        weighted_T[rows] = exp_CV.mul_(logits_CV).sum(1)
    return _Sums(largest_T, target_T.where(here_T, 0.0), total_T, weighted_T)


def _sums_of_all_shards(own: _Sums, shard: VocabularyShard) -> _Sums:
    """Two collectives for all T rows: the largest logit, then the sums relative to it."""
    largest_T = own.largest_T.clone()
    shard.all_reduce_max(largest_T)
    shift_T = own.largest_T - largest_T
    scale_T = shift_T.exp()
    total_T = scale_T * own.total_T
    weighted_T = scale_T * own.weighted_T + shift_T * total_T
    sums_3T = torch.stack([own.target_T, total_T, weighted_T])
    shard.all_reduce_sum(sums_3T)
    return _Sums(largest_T, *sums_3T)


@dataclass(frozen=True, slots=True)
class _Slope:
    """d loss / d logits = onehot * target + exp(z - largest) * (level + tilt * (z - largest))

    That is g * (onehot - p) - h * p * (log p + entropy), with g and h the gradients of log-prob
    and entropy, p = exp(z - largest) / total, and 1 / temperature inside g and h.
    """

    target_T: Tensor
    level_T: Tensor
    tilt_T: Tensor | None  # None: no entropy gradient

    @classmethod
    def of(
        cls,
        log_probs_grad_T: Tensor | None,
        entropy_grad_T: Tensor | None,
        total_T: Tensor,
        entropy_T: Tensor,
        temperature: float,
    ) -> "_Slope":
        if log_probs_grad_T is None:
            log_probs_grad_T = torch.zeros_like(total_T)
        target_T = log_probs_grad_T / temperature
        if entropy_grad_T is None:
            return cls(target_T, -target_T / total_T, None)
        entropy_slope_T = entropy_grad_T / temperature
        level_T = -(target_T + entropy_slope_T * (entropy_T - total_T.log())) / total_T
        return cls(target_T, level_T, -entropy_slope_T / total_T)

    def of_softmax(self, shifted_CV: Tensor, rows: slice) -> Tensor:
        """The part without onehot, for shifted = z - largest, which is overwritten.  -> [C, V]"""
        level_C1 = self.level_T[rows, None]
        if self.tilt_T is None:
            return shifted_CV.exp_().mul_(level_C1)
        exp_CV = shifted_CV.exp()
        return exp_CV.mul_(shifted_CV.mul_(self.tilt_T[rows, None]).add_(level_C1))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)


def _precision(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)

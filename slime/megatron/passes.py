"""Forward and backward passes over one rank's micro-batches, through megatron's own schedule."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from slime.config.schema import Layout
from slime.data import Sample, TrainSample
from slime.data.packing import PackedBatch
from slime.loss import LossOutput, MetricSums
from slime.megatron.attention import PackedSequences

Read = TypeVar("Read")

# (model, batch) -> what the model makes of it, [L, S, hidden_size] on the last pipeline stage
Forward = Callable[[torch.nn.Module, PackedBatch], Tensor]


def build_forward(layout: Layout) -> Forward:
    """How a micro-batch is shown to the model."""
    match layout:
        case Layout.thd:
            return _packed
        case Layout.bshd:
            return _padded


def _packed(model: torch.nn.Module, batch: PackedBatch) -> Tensor:
    packed = PackedSequences.of(batch.cu_seqlens)
    hidden_T1H: Tensor = model(batch.tokens_T[None], None, None, packed_seq_params=packed)
    return hidden_T1H


def _padded(model: torch.nn.Module, batch: PackedBatch) -> Tensor:
    """All sequences of the batch have one length."""
    hidden_LSH: Tensor = model(batch.tokens_T.view(len(batch.active_tokens_S), -1), None, None)
    return hidden_LSH


def accumulate_gradients(
    model: torch.nn.Module,
    batches: Sequence[PackedBatch],
    forward: Forward,
    loss_of: Callable[[Tensor, PackedBatch], LossOutput],
    step_parallel_size: int,
) -> list[MetricSums]:
    """Add d/dtheta of the sum of the losses of all batches of all ranks to the gradients.

    `model` is wrapped in megatron's DistributedDataParallel; loss_of gets hidden states
    [T, hidden_size] and their batch, on the last pipeline stage: the other stages get no metrics.
    Every rank calls this, with at least one batch, and all ranks of a model with as many.

    The schedule divides what it gets by the number of this rank's micro-batches, and the reduction
    divides by the number of data- and context-parallel ranks: both are undone here, and nowhere
    else, because the step weights in the loss leave nothing to average.
    """
    undo = len(batches) * step_parallel_size
    no_tokens_to_divide_by = torch.ones((), dtype=torch.int, device=batches[0].tokens_T.device)

    def loss_func(batch: PackedBatch, hidden_LSH: Tensor) -> tuple[Tensor, Tensor, MetricSums]:
        output = loss_of(_rows(hidden_LSH), batch)
        return output.loss * undo, no_tokens_to_divide_by, output.metrics

    return _run_schedule(model, batches, forward, loss_func)


@torch.no_grad()
def read_hidden_states(
    model: torch.nn.Module,
    batches: Sequence[PackedBatch],
    forward: Forward,
    read: Callable[[Tensor, PackedBatch], Read],
) -> list[Read]:
    """What `read` makes of the hidden states [T, hidden_size] of each batch; no gradients.

    Nothing on pipeline stages before the last.
    no_grad and not inference_mode: megatron keeps rotary tables that later passes train with.
    """

    def read_func(batch: PackedBatch, hidden_LSH: Tensor, *, non_loss_data: bool) -> Read:
        assert non_loss_data
        return read(_rows(hidden_LSH), batch)

    return _run_schedule(
        model, batches, forward, read_func, forward_only=True, collect_non_loss_data=True
    )


def _rows(hidden_LSH: Tensor) -> Tensor:
    """Sequence by sequence, as in a PackedBatch.  -> [T, hidden_size]"""
    return hidden_LSH.transpose(0, 1).flatten(0, 1)


def _run_schedule(
    model: torch.nn.Module,
    batches: Sequence[PackedBatch],
    forward: Forward,
    after_forward: Callable[..., Any],
    **kind: bool,
) -> list[Any]:
    def forward_step(
        iterator: Iterator[PackedBatch], model: torch.nn.Module
    ) -> tuple[Tensor, Callable[..., Any]]:
        batch = next(iterator)
        return forward(model, batch), partial(after_forward, batch)

    outputs: list[Any] = get_forward_backward_func()(
        forward_step_func=forward_step,
        data_iterator=iter(batches),
        model=[model],
        num_microbatches=len(batches),
        seq_length=max(len(batch.tokens_T) for batch in batches),
        micro_batch_size=1,
        **{"forward_only": False, **kind},
    )
    return outputs


def to_predict(tokens: Sequence[int]) -> TrainSample:
    """A sample whose response tokens are those after each of the tokens; nothing follows the last.

    It is not for training.
    """
    responses_R = torch.tensor([*tokens[1:], 0])
    nothing_R = torch.zeros(len(tokens))
    sample = Sample(
        prompt_id=None,
        rollout_id=0,
        prompt_tokens_P=torch.tensor(tokens[:1]),
        response_tokens_R=responses_R,
        loss_mask_R=nothing_R.bool(),
        rollout_log_probs_R=nothing_R,
    )
    return TrainSample(sample=sample, advantages_R=nothing_R, weight=0.0, auxiliary_weight=0.0)

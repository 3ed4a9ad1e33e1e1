"""The gradients that a step has accumulated, whole on every worker."""

from collections.abc import Iterable
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from torch import Tensor

from slime.distributed.groups import Peers


def gather_gradients(model: DistributedDataParallel, peers: Peers, expert_peers: Peers) -> None:
    """After the reduction: give every worker the sums that are kept on one of them each.

    A distributed optimizer leaves each of `peers` with the sums of its own part of every bucket,
    and each of `expert_peers` where experts are parallel; without one there is nothing to do.
    Every worker must call this.
    """
    if not model.ddp_config.use_distributed_optimizer:
        return
    _gather_buffers(model.buffers, peers)
    _gather_buffers(model.expert_parallel_buffers, expert_peers)


def _gather_buffers(buffers: Iterable[Any], peers: Peers) -> None:
    for buffer in buffers:
        for bucket in buffer.buckets:
            own = bucket.grad_data.chunk(peers.size)[peers.rank]
            bucket.grad_data.copy_(torch.cat(peers.gather(own)))


def gradient_of(parameter: Tensor) -> Tensor:
    """Its accumulated gradient, in float32."""
    gradient: Tensor = parameter.main_grad  # type: ignore[attr-defined]  # megatron's buffer
    return gradient

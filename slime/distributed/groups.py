"""The process groups of a train worker, over megatron's parallel state.

The rest of slime gets small objects that reduce and gather; it never sees a process group.
"""

from dataclasses import dataclass

import torch
from megatron.core import parallel_state as mpu
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed
from torch import Tensor, distributed

from slime.config.schema import ParallelConfig


def form_groups(config: ParallelConfig, seed: int) -> None:
    """Divide the workers that met, config.workers of them.

    seed: of megatron's own random states.
    """
    mpu.initialize_model_parallel(
        tensor_model_parallel_size=config.tensor,
        pipeline_model_parallel_size=config.pipeline,
        context_parallel_size=config.context,
        expert_model_parallel_size=config.expert,
    )
    model_parallel_cuda_manual_seed(seed)


def dissolve_groups() -> None:
    mpu.destroy_model_parallel()


@dataclass(frozen=True, slots=True, eq=False)
class Peers:
    """The workers that share something, and this one's number among them."""

    rank: int
    size: int
    group: distributed.ProcessGroup

    @classmethod
    def of(cls, group: distributed.ProcessGroup) -> "Peers":
        return cls(group.rank(), group.size(), group)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the workers, on every one of them.  `values` is left alone."""
        total = values.clone()
        self.sum_(total)
        return total

    def sum_(self, values: Tensor) -> None:
        """Replace `values` by their sum over the workers."""
        if self.size > 1:
            distributed.all_reduce(values, group=self.group)

    def max_(self, values: Tensor) -> None:
        """Replace `values` by their largest over the workers."""
        if self.size > 1:
            distributed.all_reduce(values, distributed.ReduceOp.MAX, group=self.group)

    def gather(self, shard: Tensor) -> list[Tensor]:
        """Every worker's shard, on every one of them.  All have the same shape."""
        if self.size == 1:
            return [shard]
        shards = [torch.empty_like(shard) for _ in range(self.size)]
        distributed.all_gather(shards, shard.contiguous(), group=self.group)
        return shards

    def from_last(self, values: Tensor) -> Tensor:
        """What the last of the workers has, on every one of them.  All have the same shape."""
        received = values.clone()
        if self.size > 1:
            last = distributed.get_global_rank(self.group, self.size - 1)
            distributed.broadcast(received, last, group=self.group)
        return received


def step_parallel() -> Peers:
    """The workers that share each step, data and context parallel: gradients are summed here."""
    return Peers.of(mpu.get_data_parallel_group(with_context_parallel=True))


def context_parallel() -> Peers:
    """The workers that share each sequence."""
    return Peers.of(mpu.get_context_parallel_group())


def tensor_parallel() -> Peers:
    """The workers that share each layer."""
    return Peers.of(mpu.get_tensor_model_parallel_group())


def pipeline_parallel() -> Peers:
    """The workers that hold the layers one after another; the last of them computes the loss."""
    return Peers.of(mpu.get_pipeline_model_parallel_group())


def expert_parallel() -> Peers:
    """The workers that hold the experts of each layer, some each."""
    return Peers.of(mpu.get_expert_model_parallel_group())


def expert_copies() -> Peers:
    """The workers that hold the same experts: their gradients are summed here."""
    return Peers.of(mpu.get_expert_data_parallel_group())


def expert_model_parallel() -> Peers:
    """The workers that hold, between them, every expert once."""
    return Peers.of(mpu.get_expert_tensor_model_pipeline_parallel_group())


def everyone() -> Peers:
    """All workers of the run."""
    assert distributed.group.WORLD is not None
    return Peers.of(distributed.group.WORLD)

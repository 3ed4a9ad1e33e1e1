"""The process groups of a train worker, over megatron's parallel state.

The rest of slime gets small objects that reduce and gather; it never sees a process group.
"""

from dataclasses import dataclass

import torch
from megatron.core import parallel_state as mpu
from torch import Tensor, distributed


def form_groups(tensor: int = 1) -> None:
    """Divide the workers that met: `tensor` neighbours share each layer, the rest is data parallel.

    tensor must divide the number of workers.
    """
    mpu.initialize_model_parallel(tensor_model_parallel_size=tensor)


def dissolve_groups() -> None:
    mpu.destroy_model_parallel()


@dataclass(frozen=True, slots=True, eq=False)
class DataParallel:
    """The workers that hold the same weights and share each step."""

    rank: int
    size: int
    group: distributed.ProcessGroup

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the workers, on every one of them.  `values` is left alone."""
        total = values.clone()
        distributed.all_reduce(total, group=self.group)
        return total


@dataclass(frozen=True, slots=True, eq=False)
class TensorParallel:
    """The workers that share each layer."""

    rank: int
    size: int
    group: distributed.ProcessGroup

    def gather(self, shard: Tensor) -> list[Tensor]:
        """Every worker's shard, on every one of them.  All have the same shape."""
        if self.size == 1:
            return [shard]
        shards = [torch.empty_like(shard) for _ in range(self.size)]
        distributed.all_gather(shards, shard.contiguous(), group=self.group)
        return shards

    def sum_(self, values: Tensor) -> None:
        """Replace `values` by their sum over the workers."""
        if self.size > 1:
            distributed.all_reduce(values, group=self.group)

    def max_(self, values: Tensor) -> None:
        """Replace `values` by their largest over the workers."""
        if self.size > 1:
            distributed.all_reduce(values, distributed.ReduceOp.MAX, group=self.group)


def data_parallel() -> DataParallel:
    group = mpu.get_data_parallel_group(with_context_parallel=True)
    return DataParallel(group.rank(), group.size(), group)


def tensor_parallel() -> TensorParallel:
    group = mpu.get_tensor_model_parallel_group()
    return TensorParallel(group.rank(), group.size(), group)

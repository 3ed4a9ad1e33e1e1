"""How one Megatron parameter holds one to three Hugging Face tensors.

A Packing says how they are laid out in it and how it is split over tensor-parallel ranks; the round
trip is exact.  Filling reads of each tensor only what this rank holds of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from slime.distributed.groups import Peers


class Stored(Protocol):
    """A tensor in a file, of which a part can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def part(self, dimension: int, start: int, end: int) -> Tensor:
        """Its rows (dimension 0) or columns (1) from start to end."""
        ...


class Packing(Protocol):
    """How one Megatron parameter holds some Hugging Face tensors."""

    def fill(self, parameter: Tensor, tensors: Sequence[Stored], group: Peers) -> None:
        """Whole Hugging Face tensors -> this rank's parameter."""
        ...

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        """The parameter of every tensor-parallel rank -> whole Hugging Face tensors."""
        ...


class Replicated:
    """One tensor, the same on every rank: norms and routers."""

    def fill(self, parameter: Tensor, tensors: Sequence[Stored], group: Peers) -> None:  # noqa: ARG002
        parameter.copy_(tensors[0].part(0, 0, len(parameter)))

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        return [shards[0]]


@dataclass(frozen=True, slots=True)
class Split:
    """One tensor, split along `dimension`: embeddings by rows, projections back by columns."""

    dimension: int

    def fill(self, parameter: Tensor, tensors: Sequence[Stored], group: Peers) -> None:
        size = parameter.shape[self.dimension]
        parameter.copy_(tensors[0].part(self.dimension, group.rank * size, (group.rank + 1) * size))

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        return [_joined(shards, self.dimension)]


class GateAndUp:
    """Each rank has its rows of the gate, then its rows of the up projection."""

    def fill(self, parameter: Tensor, tensors: Sequence[Stored], group: Peers) -> None:
        for half, tensor in zip(parameter.chunk(2), tensors, strict=True):
            half.copy_(tensor.part(0, group.rank * len(half), (group.rank + 1) * len(half)))

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        halves = [shard.chunk(2) for shard in shards]
        return [_joined([gate for gate, _ in halves], 0), _joined([up for _, up in halves], 0)]


@dataclass(frozen=True, slots=True)
class GroupedHeads:
    """Per key-value head: the rows of its query heads, of its key, of its value.

    Ranks split it between key-value heads.  Weights [rows, hidden_size] and biases [rows] alike.
    """

    queries_per_group: int
    head_size: int

    def _rows(self) -> list[int]:
        return [self.queries_per_group * self.head_size, self.head_size, self.head_size]

    def fill(self, parameter: Tensor, tensors: Sequence[Stored], group: Peers) -> None:
        grouped = parameter.view(-1, sum(self._rows()), *parameter.shape[1:])
        heads = len(grouped)
        kinds = torch.split(grouped, self._rows(), dim=1)
        for kind, tensor, rows in zip(kinds, tensors, self._rows(), strict=True):
            mine = tensor.part(0, group.rank * heads * rows, (group.rank + 1) * heads * rows)
            kind.copy_(mine.view(kind.shape))

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        whole = _joined(shards, 0)
        grouped = whole.view(-1, sum(self._rows()), *whole.shape[1:])
        return [tensor.flatten(0, 1) for tensor in torch.split(grouped, self._rows(), dim=1)]


def _joined(shards: Sequence[Tensor], dimension: int) -> Tensor:
    return shards[0] if len(shards) == 1 else torch.cat(list(shards), dimension)

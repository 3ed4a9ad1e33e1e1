"""Where the packed rows of a micro-batch stand in a dense batch of sequences.

Attention runs on a dense [S, L] batch, S sequences of at most L tokens; the tables that lead there
and back are made once a micro-batch, not once a layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slime.distributed.context import rows_of_rank


@dataclass(frozen=True, slots=True, eq=False)
class DenseRows:
    """Where T rows of S sequences stand in a right-padded [S, L] batch."""

    sequences: int  # S
    length: int  # L
    packed_of_dense: Tensor | None  # [S * L] packed row; None: nothing to move, T = S * L
    dense_of_packed: Tensor | None  # [T]

    @classmethod
    def of(cls, lengths_S: Tensor) -> "DenseRows":
        """lengths_S: of the sequences; none is empty."""
        sequences, length = len(lengths_S), int(lengths_S.max())
        if bool((lengths_S == length).all()):
            return cls(sequences, length, None, None)
        starts_S = lengths_S.cumsum(0) - lengths_S
        position_L = torch.arange(length, device=lengths_S.device)
        real_SL = position_L < lengths_S[:, None]
        packed_SL = torch.where(real_SL, starts_S[:, None] + position_L, 0)
        return cls(sequences, length, packed_SL.flatten(), real_SL.flatten().nonzero()[:, 0])

    def in_order(self, place_T: Tensor) -> "DenseRows":
        """The same for rows that arrive in another order: row t is the place_T[t]-th to arrive."""
        packed = place_T if self.packed_of_dense is None else place_T[self.packed_of_dense]
        return DenseRows(self.sequences, self.length, packed, None)

    def spread(self, rows_THD: Tensor) -> Tensor:
        """[T, heads, size] -> [S, heads, L, size]"""
        if self.packed_of_dense is not None:
            rows_THD = rows_THD.index_select(0, self.packed_of_dense)
        return rows_THD.view(self.sequences, self.length, *rows_THD.shape[1:]).transpose(1, 2)

    def pack(self, dense_SHLD: Tensor) -> Tensor:
        """[S, heads, L, size] -> [T, heads * size]"""
        rows = dense_SHLD.transpose(1, 2).reshape(self.sequences * self.length, -1)
        return rows if self.dense_of_packed is None else rows.index_select(0, self.dense_of_packed)


@dataclass(frozen=True, slots=True, eq=False)
class CausalRows:
    """The queries that a worker holds, the keys of all workers, and which key a query may see."""

    queries: DenseRows
    keys: DenseRows
    seen_S1QK: Tensor | None  # bool; None: plain causal, query i sees keys 0 to i

    @classmethod
    def of(cls, cu_seqlens: Tensor, rank: int, size: int) -> "CausalRows":
        """For context-parallel worker `rank` of `size`; cu_seqlens [S + 1] are of whole sequences.

        Padding needs no mask of its own: it stands to the right, and attention is causal.
        """
        whole = DenseRows.of(cu_seqlens.diff())
        if size == 1:
            return cls(whole, whole, None)
        queries = DenseRows.of(cu_seqlens.diff() // size)
        starts_T = cu_seqlens[:-1].repeat_interleave(cu_seqlens.diff())
        rows = rows_of_rank(cu_seqlens, rank, size)
        position_SQ = queries.spread((rows - starts_T[rows])[:, None, None])[:, 0, :, 0]
        position_K = torch.arange(whole.length, device=cu_seqlens.device)
        seen_SQK = position_K <= position_SQ[:, :, None]
        return cls(queries, whole.in_order(_arrivals(cu_seqlens, size)), seen_SQK[:, None])


def _arrivals(cu_seqlens: Tensor, size: int) -> Tensor:
    """Where each of the T rows stands when the workers' rows are put one after another.  -> [T]"""
    rows_T = torch.cat([rows_of_rank(cu_seqlens, rank, size) for rank in range(size)])
    place_T = torch.empty_like(rows_T)
    place_T[rows_T] = torch.arange(len(rows_T), device=rows_T.device)
    return place_T

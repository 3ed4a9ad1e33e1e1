"""Causal attention over packed sequences, on torch's scaled_dot_product_attention.

megatron's own module for the local spec cannot do packed (thd) batches.  Ours spreads the packed
rows once over a dense [S, L] batch, S sequences of at most L tokens; the index tables for it are
made once a micro-batch, not once a layer.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import MegatronModule
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True, slots=True, eq=False)
class DenseRows:
    """Where the T packed rows of S sequences stand in a right-padded [S, L] batch.

    Padding needs no mask: it stands to the right, and attention is causal.
    """

    sequences: int  # S
    length: int  # L
    packed_of_dense: Tensor | None  # [S * L] packed row; None: nothing to pad, T = S * L
    dense_of_packed: Tensor | None  # [T]

    @classmethod
    def of(cls, cu_seqlens: Tensor) -> "DenseRows":
        """cu_seqlens [S + 1]: where each sequence starts, and T.  No sequence is empty."""
        starts_S, lengths_S = cu_seqlens[:-1].long(), cu_seqlens.diff()
        length = int(lengths_S.max())
        sequences = len(lengths_S)
        if sequences * length == int(cu_seqlens[-1]):
            return cls(sequences, length, None, None)
        position_L = torch.arange(length, device=cu_seqlens.device)
        real_SL = position_L < lengths_S[:, None]
        packed_SL = torch.where(real_SL, starts_S[:, None] + position_L, 0)
        return cls(sequences, length, packed_SL.flatten(), real_SL.flatten().nonzero()[:, 0])

    def spread(self, rows_THD: Tensor) -> Tensor:
        """[T, heads, size] -> [S, heads, L, size]"""
        if self.packed_of_dense is not None:
            rows_THD = rows_THD.index_select(0, self.packed_of_dense)
        return rows_THD.view(self.sequences, self.length, *rows_THD.shape[1:]).transpose(1, 2)

    def pack(self, dense_SHLD: Tensor) -> Tensor:
        """[S, heads, L, size] -> [T, heads * size]"""
        rows = dense_SHLD.transpose(1, 2).reshape(self.sequences * self.length, -1)
        return rows if self.dense_of_packed is None else rows.index_select(0, self.dense_of_packed)


@dataclass
class PackedSequences(PackedSeqParams):  # type: ignore[misc]  # megatron-core has no types
    """megatron's description of a packed micro-batch, with the tables our attention needs."""

    rows: DenseRows | None = None

    @classmethod
    def of(cls, cu_seqlens: Tensor) -> "PackedSequences":
        """cu_seqlens int32 [S + 1]"""
        rows = DenseRows.of(cu_seqlens)
        return cls(
            qkv_format="thd",
            cu_seqlens_q=cu_seqlens,
            cu_seqlens_kv=cu_seqlens,
            max_seqlen_q=rows.length,
            max_seqlen_kv=rows.length,
            rows=rows,
        )


class PackedAttention(MegatronModule):  # type: ignore[misc]
    """core_attention of a layer spec: softmax(Q K^T * scale) V, causal, grouped queries."""

    def __init__(
        self, config: TransformerConfig, *_: Any, softmax_scale: float | None = None, **__: Any
    ) -> None:
        super().__init__(config=config)
        if config.context_parallel_size > 1:
            raise NotImplementedError("packed attention does not gather K and V over ranks yet")
        self.scale = 1 / math.sqrt(config.kv_channels) if softmax_scale is None else softmax_scale

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *_: Any,
        packed_seq_params: PackedSequences,
        **__: Any,
    ) -> Tensor:
        """query [T, heads, size], key and value [T, key_value_heads, size] -> [T, heads * size]"""
        rows = packed_seq_params.rows
        assert rows is not None
        attended = scaled_dot_product_attention(
            rows.spread(query),
            rows.spread(key),
            rows.spread(value),
            is_causal=True,
            scale=self.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return rows.pack(attended)

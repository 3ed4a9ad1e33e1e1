"""Causal attention on torch's scaled_dot_product_attention: packed, padded, context parallel.

megatron's own module for the local spec cannot do packed (thd) batches or context parallelism.
Ours gathers keys and values of the context-parallel workers; the backward pass of that gathering
sums their gradients on the worker that they came from.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from megatron.core import parallel_state as mpu
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel.mappings import gather_from_sequence_parallel_region
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import MegatronModule
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from slime.megatron.dense_rows import CausalRows


@dataclass
class PackedSequences(PackedSeqParams):  # type: ignore[misc]  # megatron-core has no types
    """megatron's description of a packed micro-batch, with the tables our attention needs."""

    rows: CausalRows | None = None

    @classmethod
    def of(cls, cu_seqlens: Tensor) -> "PackedSequences":
        """cu_seqlens int32 [S + 1]: of whole, padded sequences"""
        group = mpu.get_context_parallel_group()
        longest = int(cu_seqlens.diff().max())
        return cls(
            qkv_format="thd",
            cu_seqlens_q=cu_seqlens,
            cu_seqlens_kv=cu_seqlens,
            max_seqlen_q=longest,
            max_seqlen_kv=longest,
            rows=CausalRows.of(cu_seqlens, group.rank(), group.size()),
        )


class CausalAttention(MegatronModule):  # type: ignore[misc]
    """core_attention of a layer spec: softmax(Q K^T * scale) V, causal, grouped queries."""

    def __init__(
        self, config: TransformerConfig, *_: Any, softmax_scale: float | None = None, **__: Any
    ) -> None:
        super().__init__(config=config)
        self.group = mpu.get_context_parallel_group()
        self.scale = 1 / math.sqrt(config.kv_channels) if softmax_scale is None else softmax_scale

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *_: Any,
        packed_seq_params: PackedSequences | None = None,
        **__: Any,
    ) -> Tensor:
        """query [T, heads, size], key and value [T, key_value_heads, size] -> [T, heads * size]

        Without packed_seq_params the batch is padded: [L, S, heads, size] -> [L, S, heads * size].
        """
        if packed_seq_params is not None:
            assert packed_seq_params.rows is not None
            return self._attend(query, key, value, packed_seq_params.rows)
        length, sequences = query.shape[:2]
        rows = _padded_rows(sequences, length, self.group.rank(), self.group.size(), query.device)
        flat = [part.transpose(0, 1).flatten(0, 1) for part in (query, key, value)]
        attended = self._attend(flat[0], flat[1], flat[2], rows)
        return attended.view(sequences, length, -1).transpose(0, 1).contiguous()

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, rows: CausalRows) -> Tensor:
        if self.group.size() > 1:
            both = gather_from_sequence_parallel_region(
                torch.cat([key, value], dim=1), tensor_parallel_output_grad=True, group=self.group
            )
            key, value = both.chunk(2, dim=1)
        attended = scaled_dot_product_attention(
            rows.queries.spread(query),
            rows.keys.spread(key),
            rows.keys.spread(value),
            attn_mask=rows.seen_S1QK,
            is_causal=rows.seen_S1QK is None,
            scale=self.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return rows.queries.pack(attended)


@lru_cache(maxsize=4)  # every layer of a micro-batch asks for the same
def _padded_rows(
    sequences: int, length: int, rank: int, size: int, device: torch.device
) -> CausalRows:
    """length: of what this worker holds of each sequence"""
    cu_seqlens = torch.arange(sequences + 1, device=device) * (length * size)
    return CausalRows.of(cu_seqlens, rank, size)

"""Context parallelism: which tokens of each sequence a worker holds.

Every sequence is cut into 2 * size chunks of equal length, and worker r holds chunks r and
2 * size - 1 - r of each: under a causal mask all workers then have the same work.  This is the
order that megatron and TransformerEngine expect.
"""

from dataclasses import fields, replace
from itertools import pairwise

import torch
from torch import Tensor

from slime.data.packing import PackedBatch


def rows_of_rank(cu_seqlens: Tensor, rank: int, size: int) -> Tensor:
    """The tokens of worker `rank` among all T, sequence by sequence.  -> [T / size] int64

    cu_seqlens [S + 1]: lengths of whole sequences, multiples of 2 * size.
    """
    rows = []
    for start, end in pairwise(cu_seqlens.tolist()):
        chunks = torch.arange(start, end, device=cu_seqlens.device).chunk(2 * size)
        rows += [chunks[rank], chunks[2 * size - 1 - rank]]
    return torch.cat(rows)


def part_of_rank(batch: PackedBatch, rank: int, size: int) -> PackedBatch:
    """The tokens that worker `rank` of `size` holds, and the response tokens predicted there."""
    if size == 1:
        return batch
    rows = rows_of_rank(batch.cu_seqlens, rank, size)
    local_T = torch.full_like(batch.tokens_T, -1)
    local_T[rows] = torch.arange(len(rows), device=rows.device)
    positions_R = local_T[batch.response_positions_R]
    here_R = positions_R >= 0

    per_token = {
        f.name: getattr(batch, f.name)[here_R]
        for f in fields(batch)
        if f.name.endswith("_R") and getattr(batch, f.name) is not None
    }
    per_token["response_positions_R"] = positions_R[here_R]
    return replace(batch, tokens_T=batch.tokens_T[rows], **per_token)

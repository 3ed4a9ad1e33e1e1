"""Attention over what one context-parallel worker holds, against attention over whole sequences."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from slime.distributed.context import rows_of_rank
from slime.megatron.dense_rows import CausalRows, DenseRows

QUERY_HEADS, KEY_HEADS, HEAD = 4, 2, 3


def one_sequence_at_a_time(query, key, value, lengths):
    """[T, heads, size] each -> [T, heads * size]"""
    attended = []
    for q, k, v in zip(query.split(lengths), key.split(lengths), value.split(lengths), strict=True):
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        whole = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        attended.append(whole[0].transpose(0, 1).flatten(1))
    return torch.cat(attended)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from([1, 2, 3]))
def test_a_worker_attends_to_the_same_keys_as_one_process_would(chunks, size):
    lengths = [n * (2 * size if size > 1 else 1) for n in chunks]
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0)
    generator = torch.Generator().manual_seed(sum(lengths))

    def draw(heads):
        return torch.randn(sum(lengths), heads, HEAD, generator=generator, dtype=torch.float64)

    query, key, value = draw(QUERY_HEADS), draw(KEY_HEADS), draw(KEY_HEADS)
    expected = one_sequence_at_a_time(query, key, value, lengths)
    held = [rows_of_rank(cu_seqlens, r, size) if size > 1 else slice(None) for r in range(size)]
    gathered_key = torch.cat([key[rows] for rows in held])
    gathered_value = torch.cat([value[rows] for rows in held])
    for rank in range(size):
        rows = CausalRows.of(cu_seqlens, rank, size)
        attended = scaled_dot_product_attention(
            rows.queries.spread(query[held[rank]]),
            rows.keys.spread(gathered_key),
            rows.keys.spread(gathered_value),
            attn_mask=rows.seen_S1QK,
            is_causal=rows.seen_S1QK is None,
            enable_gqa=True,
        )
        torch.testing.assert_close(rows.queries.pack(attended), expected[held[rank]])


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_rows_that_are_spread_and_packed_again_are_the_same(lengths):
    rows = DenseRows.of(torch.tensor(lengths))
    values = torch.arange(sum(lengths) * 2.0).view(-1, 2, 1)
    dense = rows.spread(values)
    assert dense.shape == (len(lengths), 2, max(lengths), 1)
    assert rows.pack(dense).tolist() == values.flatten(1).tolist()

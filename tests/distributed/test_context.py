"""Which tokens of each sequence a context-parallel worker holds."""

import pytest
import torch
from data.train_samples import lengths, train_sample
from hypothesis import given
from hypothesis import strategies as st

from slime.data.packing import Padding, pack
from slime.distributed.context import part_of_rank, rows_of_rank

sizes = st.sampled_from([1, 2, 3, 4])


def batch_of(lengths_of_samples, size):
    samples = [
        train_sample(
            prompt, response, rollout_id=i, weight=i / 7, old=True, reference=True,
            mask=[(i + r) % 3 > 0 for r in range(response)],
        )
        for i, (prompt, response) in enumerate(lengths_of_samples)
    ]  # fmt: skip
    return pack(samples, Padding(2 * size, to_longest=False))


batches = st.lists(lengths(), min_size=1, max_size=6)


def test_worker_r_holds_chunks_r_and_the_r_th_from_the_end_of_every_sequence():
    cu_seqlens = torch.tensor([0, 4, 12])
    assert rows_of_rank(cu_seqlens, 0, 2).tolist() == [0, 3, 4, 5, 10, 11]
    assert rows_of_rank(cu_seqlens, 1, 2).tolist() == [1, 2, 6, 7, 8, 9]


@given(batches, sizes)
def test_every_token_is_on_one_worker_and_all_workers_hold_as_many(lengths_of_samples, size):
    batch = batch_of(lengths_of_samples, size)
    rows = [rows_of_rank(batch.cu_seqlens, rank, size) for rank in range(size)]
    assert len({len(part) for part in rows}) == 1
    assert sorted(torch.cat(rows).tolist()) == list(range(len(batch.tokens_T)))


@given(batches, sizes)
def test_every_response_token_is_on_one_worker_with_all_that_belongs_to_it(
    lengths_of_samples, size
):
    batch = batch_of(lengths_of_samples, size)
    parts = [part_of_rank(batch, rank, size) for rank in range(size)]
    order = torch.cat([part.response_rows_R for part in parts])
    assert sorted(order.tolist()) == list(range(len(batch.targets_R)))
    for name in batch.__slots__:
        if name.endswith("_R") and name != "response_positions_R":
            together = torch.cat([getattr(part, name) for part in parts])
            assert together.tolist() == getattr(batch, name)[order].tolist(), name
    predicting = torch.cat([part.tokens_T[part.response_positions_R] for part in parts])
    assert predicting.tolist() == batch.tokens_T[batch.response_positions_R][order].tolist()


@given(batches, sizes)
def test_what_is_known_of_whole_samples_stays_whole(lengths_of_samples, size):
    batch = batch_of(lengths_of_samples, size)
    for rank in range(size):
        part = part_of_rank(batch, rank, size)
        assert part.cu_seqlens.tolist() == batch.cu_seqlens.tolist()
        assert part.active_tokens_S.tolist() == batch.active_tokens_S.tolist()
        assert part.response_lengths == batch.response_lengths


@pytest.mark.parametrize("optional", ["old_log_probs_R", "reference_log_probs_R"])
def test_log_probs_that_are_not_there_stay_away(optional):
    batch = pack([train_sample(3, 6)], Padding(4, to_longest=False))
    assert getattr(part_of_rank(batch, 1, 2), optional) is None

import pytest
from data.train_samples import lengths, train_sample
from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import Layout, ParallelConfig
from slime.data.packing import build_padding, pack
from slime.data.sharing import build_sharing

sizes = st.lists(lengths(), min_size=1, max_size=25)


def share(samples, ranks, bound):
    return build_sharing(ParallelConfig(data=ranks, max_tokens_per_microbatch=bound))(samples)


def samples_of(lengths_of_samples):
    return [
        train_sample(prompt, response, rollout_id=i)
        for i, (prompt, response) in enumerate(lengths_of_samples)
    ]


def is_filler(sample):
    return sample.weight == 0


def tokens(micro_batch):
    return sum(sample.sample.tokens for sample in micro_batch)


@given(sizes, st.integers(1, 6), st.integers(21, 60))
def test_every_sample_is_laid_out_exactly_once(lengths_of_samples, ranks, bound):
    samples = samples_of(lengths_of_samples)
    laid_out = share(samples, ranks, bound)
    found = [id(s) for rank in laid_out for batch in rank for s in batch if not is_filler(s)]
    assert sorted(found) == sorted(map(id, samples))


@given(sizes, st.integers(1, 6), st.integers(21, 60))
def test_no_micro_batch_is_empty_or_above_the_bound(lengths_of_samples, ranks, bound):
    laid_out = share(samples_of(lengths_of_samples), ranks, bound)
    assert len(laid_out) == ranks
    assert all(rank for rank in laid_out)
    assert all(1 <= tokens(batch) <= bound for rank in laid_out for batch in rank)


@given(sizes, st.integers(1, 6), st.integers(21, 60))
def test_samples_of_a_micro_batch_keep_their_order(lengths_of_samples, ranks, bound):
    for rank in share(samples_of(lengths_of_samples), ranks, bound):
        for batch in rank:
            ids = [s.sample.rollout_id for s in batch]
            assert ids == sorted(ids)


@given(sizes, st.integers(1, 6))
def test_ranks_differ_by_at_most_the_longest_sample(lengths_of_samples, ranks):
    samples = samples_of(lengths_of_samples)
    loads = [
        sum(tokens(batch) for batch in rank if not is_filler(batch[0]))
        for rank in share(samples, ranks, 60)
    ]
    assert max(loads) - min(loads) <= max(s.sample.tokens for s in samples)


def test_short_samples_fill_up_what_the_long_ones_left_uneven():
    laid_out = share(samples_of([(1, 2), (2, 1), (4, 2)]), 2, 60)
    assert [tokens(rank[0]) for rank in laid_out] == [6, 6]


@given(sizes, st.integers(21, 60))
def test_no_two_micro_batches_of_a_rank_would_fit_into_one(lengths_of_samples, bound):
    [rank] = share(samples_of(lengths_of_samples), 1, bound)
    total = sum(map(tokens, rank))
    assert len(rank) == 1 or total > len(rank) * bound / 2


def test_micro_batches_are_filled_evenly_where_the_bound_allows():
    [rank] = share(samples_of([(4, 6)] * 6), 1, 40)  # full ones would be 40 and 20
    assert [tokens(batch) for batch in rank] == [30, 30]


def test_micro_batches_are_not_evened_out_beyond_the_bound():
    [rank] = share(samples_of([(3, 3)] * 2 + [(2, 2)] * 3), 1, 12)  # evenly: 6 + 4 + 4 and 6 + 4
    assert [tokens(batch) for batch in rank] == [12, 12]


def test_the_layout_is_the_same_every_time():
    samples = samples_of([(i % 7 + 1, i % 5) for i in range(30)])
    assert share(samples, 3, 25) == share(samples, 3, 25)


@given(sizes, st.integers(1, 30))
def test_a_rank_without_samples_gets_a_filler_that_cannot_train(lengths_of_samples, ranks):
    samples = samples_of(lengths_of_samples)
    laid_out = share(samples, ranks, 60)
    fillers = [s for rank in laid_out for batch in rank for s in batch if is_filler(s)]
    assert len(fillers) == max(0, ranks - len(samples))
    for filler in fillers:
        assert filler.sample.active_tokens == 0
        assert (filler.weight, filler.auxiliary_weight) == (0.0, 0.0)
        assert filler.sample.tokens == min(s.sample.tokens for s in samples)
    assert all(s.sample.active_tokens == len(s.sample.response_tokens_R) for s in samples)


def test_a_sample_above_the_bound_is_an_error_that_names_the_key_to_raise():
    message = r"rollout 1 has 12 tokens: raise parallel.max_tokens_per_microbatch=11 to at least 12"
    with pytest.raises(ValueError, match=message):
        share(samples_of([(3, 4), (6, 6)]), 1, 11)


def test_a_sample_that_its_padding_takes_above_the_bound_is_told_the_padded_length():
    config = ParallelConfig(context=2, tensor=2, max_tokens_per_microbatch=13)
    with pytest.raises(ValueError, match=r"has 12 tokens: raise .*=13 to at least 16"):
        build_sharing(config)(samples_of([(6, 6)]))


def test_a_sample_of_exactly_the_bound_fits():
    assert len(share(samples_of([(3, 4), (6, 6)]), 1, 12)[0]) == 2


def test_a_step_without_samples_is_an_error():
    with pytest.raises(ValueError, match="without samples"):
        share([], 2, 100)


# ---- by count, and padded ----


def share_by_count(samples, ranks, count, layout):
    config = ParallelConfig(
        data=ranks, microbatches=count, max_tokens_per_microbatch=1, layout=layout
    )
    return build_sharing(config)(samples)


@pytest.mark.parametrize("layout", Layout)
@given(sizes, st.integers(1, 4), st.integers(1, 9))
def test_by_count_every_rank_has_that_many_micro_batches_or_as_many_as_it_has_samples(
    layout, lengths_of_samples, ranks, count
):
    samples = samples_of(lengths_of_samples)
    shared = share_by_count(samples, ranks, count, layout)
    for rank in shared:
        real = [s for batch in rank for s in batch if not is_filler(s)]
        assert len(rank) == max(1, min(count, len(real)))
    found = [id(s) for rank in shared for batch in rank for s in batch if not is_filler(s)]
    assert sorted(found) == sorted(map(id, samples))


def test_by_count_packed_micro_batches_are_filled_evenly():
    [rank] = share_by_count(samples_of([(4, 6)] * 4 + [(2, 8), (9, 1)]), 1, 3, Layout.thd)
    assert [tokens(batch) for batch in rank] == [20, 20, 20]


def test_by_count_padded_micro_batches_hold_samples_of_like_length():
    [rank] = share_by_count(samples_of([(1, 1), (9, 9), (1, 2), (8, 9)]), 1, 2, Layout.bshd)
    assert [[s.sample.tokens for s in batch] for batch in rank] == [[18, 17], [2, 3]]


@pytest.mark.parametrize("layout", Layout)
@given(sizes, st.integers(1, 6), st.integers(36, 80), st.integers(1, 3), st.integers(1, 4))
def test_micro_batches_keep_the_bound_with_the_padding_of_their_layout(
    layout, lengths_of_samples, ranks, bound, context, tensor
):
    samples = samples_of(lengths_of_samples)
    config = ParallelConfig(
        data=ranks, max_tokens_per_microbatch=bound, layout=layout, context=context, tensor=tensor
    )
    shared = build_sharing(config)(samples)
    for batch in (batch for rank in shared for batch in rank):
        assert len(pack(batch, build_padding(config)).tokens_T) <= bound
    found = [id(s) for rank in shared for batch in rank for s in batch if not is_filler(s)]
    assert sorted(found) == sorted(map(id, samples))

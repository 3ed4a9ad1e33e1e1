"""The synthetic step has everything that is hard, at any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slime.check.synthetic import LONGEST, Sizes, draw_groups
from slime.config.schema import ConfigError, ParallelConfig
from slime.data import Finish

SIZES = Sizes(tokens=LONGEST, vocabulary=50)


def rollouts(groups):
    return [rollout for group in groups for rollout in group.rollouts]


def samples(groups):
    return [sample for rollout in rollouts(groups) for sample in rollout.samples]


@given(st.integers(2, 40), st.integers(1, 200), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_every_sample_fits(tokens, vocabulary, seed, steps):
    found = samples(draw_groups(steps, Sizes(tokens, vocabulary), seed))
    assert max(sample.tokens for sample in found) == tokens
    for sample in found:
        assert len(sample.prompt_tokens_P) >= 1
        assert len(sample.loss_mask_R) == len(sample.response_tokens_R) >= 1
        assert max(sample.prompt_tokens_P.max(), sample.response_tokens_R.max()) < vocabulary


@given(st.integers(0, 2**32 - 1))
def test_what_is_hard_is_in_every_draw(seed):
    groups = draw_groups(1, SIZES, seed)
    masks = [sample.loss_mask_R.tolist() for sample in samples(groups)]
    assert any(len(mask) == 1 for mask in masks)  # a one-token response
    assert any(len(rollout.samples) > 1 for rollout in rollouts(groups))  # fan-out
    assert len({len(group.rollouts) for group in groups}) > 3  # ragged groups
    assert any(len(group.rollouts) == 1 for group in groups)
    assert any(len({r.reward for r in g.rollouts}) == 1 for g in groups if len(g.rollouts) > 1)
    assert any(not any(mask) for mask in masks)  # an empty sample
    empty = [sum(s.active_tokens for r in g.rollouts for s in r.samples) == 0 for g in groups]
    assert any(empty)  # an empty prompt
    assert not all(empty)
    assert any(mask[0] and mask[-1] and not all(mask) for mask in masks)  # turns
    assert {rollout.finish for rollout in rollouts(groups)} == set(Finish)
    assert any(sample.tokens == SIZES.tokens for sample in samples(groups))
    assert len({len(mask) for mask in masks}) > 5


def test_rollout_and_prompt_ids_are_unique_over_all_steps_and_belong_together():
    groups = draw_groups(3, SIZES, 0)
    assert len({group.prompt.id for group in groups}) == len(groups)
    assert len({rollout.id for rollout in rollouts(groups)}) == len(rollouts(groups))
    for group in groups:
        for rollout in group.rollouts:
            for sample in rollout.samples:
                assert (sample.prompt_id, sample.rollout_id) == (group.prompt.id, rollout.id)


@pytest.mark.parametrize(
    ("parallel", "tokens"),
    [
        (ParallelConfig(), LONGEST),
        (ParallelConfig(max_tokens_per_microbatch=50), 50),
        (ParallelConfig(max_tokens_per_microbatch=50, context=2), 48),
        (ParallelConfig(max_tokens_per_microbatch=50, context=2, tensor=3), 48),
        (ParallelConfig(max_tokens_per_microbatch=50, microbatches=2), 100),
    ],
)
def test_the_longest_sample_fills_a_micro_batch_of_the_layout(parallel, tokens):
    positions = 100 if parallel.microbatches else 1000
    assert Sizes.fitting(parallel, positions, 50) == Sizes(tokens, 50)


def test_a_bound_that_leaves_no_room_is_said():
    parallel = ParallelConfig(max_tokens_per_microbatch=3, context=2)
    with pytest.raises(ConfigError, match=r"has no room .* write 4 or more"):
        Sizes.fitting(parallel, 100, 50)


def test_a_seed_gives_the_same_step_again():
    def tokens(seed):
        return [s.response_tokens_R.tolist() for s in samples(draw_groups(1, SIZES, seed))]

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)

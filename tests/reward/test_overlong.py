"""The soft overlong punishment against DAPO's equation 13, written down case by case."""

import pytest
from groups import sample
from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import OverlongConfig, SoftOverlong
from slime.data import Finish, Rollout
from slime.reward.overlong import build_shaping


def rollout(*lengths, masked=0):
    samples = tuple(sample(0, 0, length, masked=masked) for length in lengths)
    return Rollout(0, 0, samples, "", Finish.stop, 1.0)


def equation_13(length, longest, cache):
    if length <= longest - cache:
        return 0.0
    if length <= longest:
        return ((longest - cache) - length) / cache
    return -1.0


@given(
    length=st.integers(0, 300),
    longest=st.integers(2, 200),
    share=st.floats(0.01, 1),
    factor=st.floats(0, 10),
)
def test_soft_is_equation_13_times_the_factor(length, longest, share, factor):
    shaping = build_shaping(SoftOverlong(buffer_fraction=share, factor=factor), longest)
    expected = factor * equation_13(length, longest, share * longest)
    assert shaping(rollout(length)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_papers_own_sizes():
    """L_max 20480 and L_cache 4096, the default: free up to 16384 tokens."""
    shaping = build_shaping(SoftOverlong(), 20480)
    lengths = (1, 16384, 18432, 20480)
    assert [shaping(rollout(length)) for length in lengths] == [0.0, 0.0, -0.5, -1.0]


def test_the_length_is_that_of_the_whole_rollout_masked_tokens_too():
    shaping = build_shaping(SoftOverlong(buffer_fraction=0.4), 10)
    assert shaping(rollout(3, 2, masked=2)) == -3 / 4


def test_without_a_penalty_nothing_is_added():
    assert build_shaping(OverlongConfig(), 10)(rollout(10_000)) == 0.0

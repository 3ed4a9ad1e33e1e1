"""Which groups are trained on: every filter on rounds of rewards, no engine needed."""

from dataclasses import replace
from itertools import count

import pytest
from groups import group
from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import DynamicFilter, FilterConfig, LocalEngine, RolloutConfig
from slime.config.schema import ZeroVarianceFilter as ZeroVariance
from slime.rollout.selection import Round, build_selection, has_variance, prompts_per_draw

MIXED, RIGHT, WRONG = [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]


def config(rollout_filter, prompts=3):
    return RolloutConfig(engine=LocalEngine(), filter=rollout_filter, prompts_per_iteration=prompts)


class Draws:
    """Groups with these rewards, round after round; prompt ids count up."""

    def __init__(self, *rounds):
        self.rounds = iter(rounds)
        self.ids = count()
        self.taken = 0

    def __call__(self):
        self.taken += 1
        groups = tuple(group(next(self.ids), rewards, [1, 1]) for rewards in next(self.rounds))
        return Round(groups, (), 1.0, 0.5)


def ids(groups):
    return [one.prompt.id for one in groups]


def test_without_a_filter_everything_is_drawn_once_and_trained_on():
    selection = build_selection(config(FilterConfig()))(Draws([MIXED, RIGHT, WRONG]))
    assert ids(selection.trained) == ids(selection.generated) == [0, 1, 2]
    assert (len(selection.rounds), selection.unfilled) == (1, 0)


def test_zero_variance_leaves_equal_rewards_out_and_draws_no_more():
    selection = build_selection(config(ZeroVariance()))(Draws([RIGHT, MIXED, WRONG]))
    assert ids(selection.trained) == [1]
    assert ids(selection.generated) == [0, 1, 2]
    assert (len(selection.rounds), selection.unfilled) == (1, 0)


def test_zero_variance_may_leave_nothing():
    assert build_selection(config(ZeroVariance()))(Draws([RIGHT, WRONG])).trained == ()


def test_dynamic_draws_until_the_iteration_is_full_and_discards_the_surplus():
    draws = Draws([RIGHT, MIXED, WRONG], [MIXED, WRONG, RIGHT], [MIXED, MIXED, MIXED], [MIXED])
    selection = build_selection(config(DynamicFilter()))(draws)
    assert ids(selection.trained) == [1, 3, 6]
    assert ids(selection.generated) == list(range(9))
    assert (draws.taken, selection.unfilled) == (3, 0)


def test_dynamic_stops_after_max_rounds_and_fills_up_with_equal_rewards():
    draws = Draws([RIGHT, WRONG], [WRONG, MIXED], [MIXED, MIXED])
    selection = build_selection(config(DynamicFilter(max_rounds=2), prompts=3))(draws)
    assert ids(selection.trained) == [0, 3, 1]
    assert (draws.taken, selection.unfilled) == (2, 2)


def test_what_fills_up_is_spread_so_that_every_step_has_some_signal():
    draws = Draws([RIGHT, MIXED, WRONG, MIXED, MIXED, RIGHT, WRONG, MIXED])
    trained = build_selection(config(DynamicFilter(max_rounds=1), prompts=8))(draws).trained
    varied = [has_variance(group) for group in trained]
    assert [sum(varied[start : start + 2]) for start in (0, 2, 4, 6)] == [1, 1, 1, 1]
    kept = [place for place, group in zip(ids(trained), varied, strict=True) if group]
    assert kept == [1, 3, 4, 7]


def test_the_tasks_own_reward_decides_and_not_what_is_added_to_it():
    assert not has_variance(group(0, [1.0, 1.0, 1.0], [1, 1, 1]))
    assert has_variance(group(0, [1.0, 1.0, 0.5], [1, 1, 1]))
    equal = group(0, RIGHT, [1, 1])
    shaped = tuple(replace(r, shaping=-float(place)) for place, r in enumerate(equal.rollouts))
    assert not has_variance(replace(equal, rollouts=shaped))


def test_the_seconds_of_all_rounds_are_counted():
    draws = Draws([RIGHT], [WRONG], [MIXED])
    selection = build_selection(config(DynamicFilter(prompts_per_round=1), prompts=1))(draws)
    assert (selection.generate_s, selection.reward_s) == (3.0, 1.5)


@pytest.mark.parametrize(
    ("rollout_filter", "drawn"),
    [
        (FilterConfig(), 3),
        (ZeroVariance(), 3),
        (DynamicFilter(), 3),
        (DynamicFilter(prompts_per_round=5), 5),
    ],
)
def test_a_draw_has_the_size_that_was_asked_for(rollout_filter, drawn):
    assert prompts_per_draw(config(rollout_filter)) == drawn


@given(
    rounds=st.lists(
        st.lists(st.sampled_from([MIXED, RIGHT, WRONG]), min_size=4, max_size=4),
        min_size=6,
        max_size=6,
    ),
    prompts=st.integers(1, 4),
    max_rounds=st.integers(1, 6),
)
def test_dynamic_always_trains_on_as_many_prompts_as_asked_for(rounds, prompts, max_rounds):
    draws = Draws(*rounds)
    dynamic = DynamicFilter(max_rounds=max_rounds)
    selection = build_selection(config(dynamic, prompts))(draws)
    varied = [g for g in selection.trained if g.rollouts[0].reward != g.rollouts[1].reward]
    assert len(selection.trained) == len(set(ids(selection.trained))) == prompts
    assert set(ids(selection.trained)) <= set(ids(selection.generated))
    assert selection.unfilled == prompts - len(varied)
    seen = [sum(r is MIXED for r in one) for one in rounds]
    assert draws.taken <= max_rounds
    assert sum(seen[: draws.taken - 1]) < prompts  # no draw too many
    assert sum(seen[: draws.taken]) >= prompts or draws.taken == max_rounds  # none too few

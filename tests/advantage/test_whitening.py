"""Whitening over a whole step: over its rollouts, or over its active tokens."""

import math
import statistics
from dataclasses import replace

import pytest
from advantage.formulas import (
    Token,
    Told,
    dr_grpo,
    groups_of,
    grpo,
    penalties_of,
    plain,
    reinforce_plus_plus,
    rloo,
    steps,
    whiten,
)
from advantage.reading import each, flat, tokens_of
from hypothesis import assume, given

from slime.advantage import build_advantage
from slime.config.schema import (
    AdvantageConfig,
    DrGrpoAdvantage,
    GrpoAdvantage,
    ReinforcePlusPlusAdvantage,
    ReinforcePlusPlusBaselineAdvantage,
    RlooAdvantage,
    Whitening,
)

EPSILON = 1e-3
ROLLOUTS = {"whitening": Whitening.rollouts, "whitening_epsilon": EPSILON}
TOKENS = {"whitening": Whitening.tokens, "whitening_epsilon": EPSILON}
WITH_BASELINE = {
    GrpoAdvantage: lambda group, i: grpo(group, group[i], 1e-6),
    DrGrpoAdvantage: lambda group, i: dr_grpo(group, group[i]),
    RlooAdvantage: rloo,
    ReinforcePlusPlusBaselineAdvantage: lambda group, i: dr_grpo(group, group[i]),
}
EVERY = [*WITH_BASELINE, ReinforcePlusPlusAdvantage]


def of_rollouts(step, formula):
    paid = [[told.paid for told in group] for group in step]
    return [formula(group, i) for group in paid for i in range(len(group))]


def rollouts_in(step):
    return [told for group in step for told in group]


def found(config, step, penalties=None):
    penalties = penalties_of(step) if penalties is None else penalties
    return flat(tokens_of(build_advantage(config)(groups_of(step), penalties), step))


def spread_out(values):
    """Enough for the oracle's own rounding not to be divided by next to nothing."""
    return len(values) > 1 and max(values) - min(values) > 1e-6


def close_to(expected):
    return pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("estimator", WITH_BASELINE)
@given(steps)
def test_over_rollouts_each_counts_once_however_long_it_is(estimator, step):
    values = of_rollouts(step, WITH_BASELINE[estimator])
    assume(spread_out(values))
    expected = flat(each(whiten(values, EPSILON), step))
    assert found(estimator(**ROLLOUTS), step) == close_to(expected)


@given(steps)
def test_over_rollouts_reinforce_plus_plus_whitens_the_rewards(step):
    values = [told.reward + told.shaping for told in rollouts_in(step)]
    assume(spread_out(values))
    expected = flat(each(whiten(values, EPSILON), step))
    assert found(ReinforcePlusPlusAdvantage(**ROLLOUTS), step, {}) == close_to(expected)


@pytest.mark.parametrize("estimator", WITH_BASELINE)
@given(steps)
def test_over_tokens_each_active_one_counts_once(estimator, step):
    of_tokens = flat(each(of_rollouts(step, WITH_BASELINE[estimator]), step))
    assert_whitened_over_tokens(estimator(**TOKENS), step, of_tokens)


@given(steps)
def test_over_tokens_reinforce_plus_plus_whitens_the_returns(step):
    returns = [
        reinforce_plus_plus(told, t) for told in rollouts_in(step) for t in range(len(told.tokens))
    ]
    assert_whitened_over_tokens(ReinforcePlusPlusAdvantage(**TOKENS), step, returns)


def assert_whitened_over_tokens(config, step, values):
    active = [token.active for told in rollouts_in(step) for token in told.tokens]
    kept = [value for value, is_active in zip(values, active, strict=True) if is_active]
    assume(spread_out(kept))
    rest = iter(whiten(kept, EPSILON))
    assert found(config, step) == close_to([next(rest) if a else 0.0 for a in active])


@given(steps)
def test_the_mean_over_active_tokens_is_0_and_the_deviation_nearly_1(step):
    values = found(ReinforcePlusPlusAdvantage(whitening_epsilon=1e-12), step)
    active = [token.active for told in rollouts_in(step) for token in told.tokens]
    kept = [value for value, is_active in zip(values, active, strict=True) if is_active]
    assume(len(kept) > 1)
    assume(any(abs(value) > 0.1 for value in kept))
    assert statistics.fmean(kept) == pytest.approx(0, abs=1e-6)
    assert statistics.pstdev(kept) == pytest.approx(1, abs=1e-3)


def test_the_deviation_is_that_of_the_population_as_in_openrlhf():
    config = ReinforcePlusPlusAdvantage(whitening=Whitening.rollouts, whitening_epsilon=1e-12)
    values = found(config, plain([[1.0, 0.0]]), {})
    assert values == pytest.approx([1.0, 0.0, 1.0, -1.0, 0.0, -1.0])  # 0.707 with the sample's


def test_a_long_rollout_moves_the_mean_over_tokens_and_not_that_over_rollouts():
    long, short = [Token(True, 0.0)] * 3, [Token(True, 0.0)]
    step = [[Told(1.0, 0.0, [long])], [Told(0.0, 0.0, [short])]]
    over = {
        whitening: found(
            ReinforcePlusPlusAdvantage(whitening=whitening, whitening_epsilon=1e-12), step, {}
        )
        for whitening in (Whitening.tokens, Whitening.rollouts)
    }
    root = math.sqrt(3 / 16)  # mean 3/4
    assert over[Whitening.tokens] == pytest.approx([0.25 / root] * 3 + [-0.75 / root])
    assert over[Whitening.rollouts] == pytest.approx([1.0] * 3 + [-1.0])


def test_a_rollout_without_an_active_token_counts_among_rollouts_and_not_among_tokens():
    active, masked = [Token(True, 0.0)], [Token(False, 0.0)]
    step = [[Told(1.0, 0.0, [active])], [Told(0.0, 0.0, [active])], [Told(-8.0, 0.0, [masked])]]
    tokens = found(ReinforcePlusPlusAdvantage(**TOKENS), step, {})
    assert tokens == close_to([*whiten([1.0, 0.0], EPSILON), 0.0])
    rollouts = found(ReinforcePlusPlusAdvantage(**ROLLOUTS), step, {})
    assert rollouts == close_to([*whiten([1.0, 0.0, -8.0], EPSILON)[:2], 0.0])


@pytest.mark.parametrize("estimator", WITH_BASELINE)
def test_over_rollouts_a_group_of_equal_rewards_still_gets_exactly_zero(estimator):
    """Rewards that their groups have centred have the mean 0, up to rounding."""
    step = plain([[0.1, 0.7, 0.3], [0.4, 0.4], [0.9, 0.2, 0.6]])
    values = found(estimator(**ROLLOUTS), step, {})
    assert values[9:15] == [0.0] * 6
    assert values[0] != 0


@pytest.mark.parametrize("whitening", [Whitening.rollouts, Whitening.tokens])
@pytest.mark.parametrize("estimator", EVERY)
def test_equal_advantages_give_exactly_zero(estimator, whitening):
    step = plain([[0.1] * 3, [0.1] * 3])
    values = found(estimator(whitening=whitening), step, {})
    assert values == [0.0] * len(values)


@pytest.mark.parametrize("whitening", [Whitening.rollouts, Whitening.tokens])
@pytest.mark.parametrize("estimator", EVERY)
def test_a_step_without_an_active_token_and_one_without_groups_are_no_error(estimator, whitening):
    config = estimator(whitening=whitening)
    [group] = plain([[1.0, 0.0]])
    masked = [[replace(told, samples=[[Token(False, 0.0)]]) for told in group]]
    assert found(config, masked, {}) == [0.0, 0.0]
    assert not build_advantage(config)([]).of_rollout


@pytest.mark.parametrize("estimator", EVERY)
@given(steps)
def test_the_order_of_the_groups_does_not_matter(estimator, step):
    config = estimator(**TOKENS)
    estimate = build_advantage(config)
    groups, penalties = groups_of(step), penalties_of(step)
    forward, backward = estimate(groups, penalties), estimate(groups[::-1], penalties)
    for rollout in forward.of_rollout:
        for one, other in zip(forward[rollout], backward[rollout], strict=True):
            assert one.tolist() == close_to(other.tolist())


def test_reinforce_plus_plus_that_pays_token_by_token_has_no_one_number_for_a_rollout():
    [[first, second]] = plain([[1.0, 0.0]])
    with pytest.raises(ValueError, match="one number for each rollout"):
        found(ReinforcePlusPlusAdvantage(**ROLLOUTS), [[first, second]])


def test_what_is_whitened_by_default():
    assert {c().whitening for c in (GrpoAdvantage, DrGrpoAdvantage, RlooAdvantage)} == {
        Whitening.none
    }
    plus = (ReinforcePlusPlusAdvantage, ReinforcePlusPlusBaselineAdvantage)
    assert {c().whitening for c in plus} == {Whitening.tokens}
    assert AdvantageConfig.__dataclass_fields__["whitening"].metadata["neutral"] is Whitening.none

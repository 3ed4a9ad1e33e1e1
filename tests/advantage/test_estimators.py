"""Every estimator against its formula, before anything is whitened."""

import math
from dataclasses import replace

import pytest
import torch
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
)
from advantage.reading import each, flat, tokens_of
from hypothesis import given
from hypothesis import strategies as st

from slime.advantage import build_advantage
from slime.config.schema import (
    AdvantageConfig,
    ConfigError,
    ConstantAdvantage,
    DrGrpoAdvantage,
    GrpoAdvantage,
    ReinforcePlusPlusAdvantage,
    ReinforcePlusPlusBaselineAdvantage,
    RlooAdvantage,
    Whitening,
)

UNWHITENED = {"whitening": Whitening.none}
WITH_BASELINE = [
    GrpoAdvantage(),
    DrGrpoAdvantage(),
    RlooAdvantage(),
    ReinforcePlusPlusBaselineAdvantage(**UNWHITENED),
]
READING_REWARDS = [*WITH_BASELINE, ReinforcePlusPlusAdvantage(**UNWHITENED)]


def close_to(expected):
    return pytest.approx(flat(expected), rel=1e-9, abs=1e-9)


def found(config, step):
    return flat(tokens_of(build_advantage(config)(groups_of(step), penalties_of(step)), step))


def by_group(step, formula):
    """formula: (rewards of a group, place in it) -> the advantage of that rollout"""
    paid = [[told.paid for told in group] for group in step]
    return each([formula(group, i) for group in paid for i in range(len(group))], step)


@pytest.mark.parametrize(
    "config", [DrGrpoAdvantage(), ReinforcePlusPlusBaselineAdvantage(**UNWHITENED)]
)
@given(steps)
def test_dr_grpo_and_reinforce_plus_plus_with_baseline_subtract_the_mean_of_the_group(config, step):
    assert found(config, step) == close_to(by_group(step, lambda g, i: dr_grpo(g, g[i])))


@given(steps, st.sampled_from([1e-3, 0.1]))
def test_grpo_also_divides_by_the_sample_deviation_plus_epsilon(step, epsilon):
    expected = by_group(step, lambda group, i: grpo(group, group[i], epsilon))
    assert found(GrpoAdvantage(epsilon=epsilon), step) == close_to(expected)


@given(steps)
def test_rloo_subtracts_the_mean_of_the_others(step):
    assert found(RlooAdvantage(), step) == close_to(by_group(step, rloo))


@given(steps)
def test_reinforce_plus_plus_is_the_reward_without_what_is_still_to_be_paid(step):
    expected = [
        [
            reinforce_plus_plus(told, t) if token.active else 0.0
            for t, token in enumerate(told.tokens)
        ]
        for group in step
        for told in group
    ]
    assert found(ReinforcePlusPlusAdvantage(**UNWHITENED), step) == close_to(expected)


@given(steps, st.floats(0.1, 10))
def test_constant_is_the_same_for_every_rollout_scored_or_not(step, value):
    unscored = [[replace(told, reward=None) for told in group] for group in step]
    advantages = build_advantage(ConstantAdvantage(value=value))(groups_of(unscored))
    expected = each([value for group in step for _ in group], step)
    assert tokens_of(advantages, unscored) == expected


def test_grpo_divides_by_one_less_than_the_group_as_trl_and_verl_do():
    step = plain([[1.0, 0.0]])
    first, second = tokens_of(build_advantage(GrpoAdvantage(epsilon=1e-12))(groups_of(step)), step)
    root = math.sqrt(0.5)  # 1.0 with the population deviation
    assert first == pytest.approx([root, 0.0, root])
    assert second == pytest.approx([-root, 0.0, -root])


def test_what_is_still_to_be_paid_goes_on_in_the_samples_that_follow():
    """1 - (0.1 + 0.2 + 0.4) at the first token; the masked 0.8 is never paid."""
    first, second = [Token(True, 0.1), Token(False, 0.8), Token(True, 0.2)], [Token(True, 0.4)]
    step = [[Told(1.0, 0.0, [first, second])]]
    expected = [0.3, 0.0, 0.4, 0.6]
    assert found(ReinforcePlusPlusAdvantage(**UNWHITENED), step) == pytest.approx(expected)


@pytest.mark.parametrize("config", WITH_BASELINE)
@given(reward=st.floats(-100, 100), size=st.integers(1, 9))
def test_equal_rewards_and_a_group_of_one_give_exactly_zero(config, reward, size):
    step = plain([[reward] * size])
    assert tokens_of(build_advantage(config)(groups_of(step)), step) == [[0.0] * 3] * size


@pytest.mark.parametrize("config", READING_REWARDS)
def test_shaping_counts_as_reward(config):
    step = plain([[1.0, 0.0, 0.0]])
    [[first, *others]] = step
    shaped = [[replace(first, reward=1.5, shaping=-0.5), *others]]
    assert found(config, shaped) == found(config, step)


@pytest.mark.parametrize("config", READING_REWARDS)
def test_the_baseline_counts_rollouts_not_samples(config):
    [[first, *others]] = plain([[1.0, 0.0, 0.0]])
    fanned_out = [[replace(first, samples=first.samples * 5), *others]]
    once = tokens_of(build_advantage(config)(groups_of([[first, *others]])), [[first, *others]])
    often = tokens_of(build_advantage(config)(groups_of(fanned_out)), fanned_out)
    assert often == [once[0] * 5, *once[1:]]


@pytest.mark.parametrize("config", READING_REWARDS)
def test_unless_they_are_whitened_groups_do_not_see_each_other(config):
    both = found(config, plain([[1.0, 0.0], [5.0, 9.0, 7.0]]))
    alone = found(config, plain([[1.0, 0.0]]))
    assert both[: len(alone)] == alone


@pytest.mark.parametrize("config", READING_REWARDS)
def test_a_masked_token_has_no_advantage_whatever_it_would_cost(config):
    tokens = [Token(True, 0.5), Token(False, math.nan)]
    step = [[Told(1.0, 0.0, [tokens]), Told(0.0, 0.0, [tokens])]]
    groups = groups_of(step)
    penalties = {r: (torch.tensor([0.5, 0.0]).double(),) for r in (0, 1)}
    values = tokens_of(build_advantage(config)(groups, penalties), step)
    assert [of_rollout[1] for of_rollout in values] == [0.0, 0.0]
    assert all(math.isfinite(of_rollout[0]) for of_rollout in values)


@pytest.mark.parametrize("config", READING_REWARDS)
@pytest.mark.parametrize(
    ("reward", "shaping"), [(None, 0.0), (math.nan, 0.0), (math.inf, 0.0), (1.0, math.nan)]
)
def test_a_rollout_without_a_finite_reward_is_an_error_that_names_it(config, reward, shaping):
    [[first, second]] = plain([[1.0, 0.0]])
    with pytest.raises(ValueError, match="rollout 1 has"):
        found(config, [[first, replace(second, reward=reward, shaping=shaping)]])


@pytest.mark.parametrize("config", [*READING_REWARDS, ConstantAdvantage()])
def test_a_rollout_that_occurs_twice_is_an_error(config):
    [group] = groups_of(plain([[1.0, 0.0]]))
    with pytest.raises(ValueError, match="rollout 0 occurs twice"):
        build_advantage(config)([group, group])


def test_a_rollout_that_was_in_no_group_has_no_advantage():
    with pytest.raises(KeyError):
        build_advantage(DrGrpoAdvantage())(groups_of(plain([[1.0, 0.0]])))[99]


def test_advantages_cannot_be_written_to():
    advantages = build_advantage(DrGrpoAdvantage())(groups_of(plain([[1.0, 0.0]])))
    with pytest.raises(TypeError):
        advantages.of_rollout[0] = 7.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GrpoAdvantage(epsilon=0.0), "advantage.epsilon"),
        (DrGrpoAdvantage(whitening_epsilon=0.0), "advantage.whitening_epsilon"),
        (ConstantAdvantage(value=0.0), "advantage.value"),
        (ConstantAdvantage(whitening=Whitening.tokens), "nothing is left"),
        (AdvantageConfig(name="gae"), "no estimator for a AdvantageConfig"),
    ],
)
def test_an_illegal_advantage_node_is_a_config_error(config, message):
    with pytest.raises(ConfigError, match=message):
        build_advantage(config)

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slime.advantage import build_advantage
from slime.config.schema import AdvantageConfig, ConfigError, DrGrpoAdvantage, GrpoAdvantage
from slime.data import Finish, Group, Prompt, Rollout

rewards = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-100, 100))
ragged_groups = st.lists(st.lists(rewards, max_size=6), max_size=4)


def groups(rewards_of_groups, samples=()):
    """Rollout ids are 10 * group + place."""
    return [
        Group(
            Prompt(g, "question", "answer"),
            tuple(
                Rollout(10 * g + i, g, samples, "text", Finish.stop, reward)
                for i, reward in enumerate(rewards)
            ),
        )
        for g, rewards in enumerate(rewards_of_groups)
    ]


@given(ragged_groups)
def test_dr_grpo_is_the_reward_minus_the_mean_of_its_group(rewards_of_groups):
    advantages = build_advantage(DrGrpoAdvantage())(groups(rewards_of_groups))
    for g, rewards in enumerate(rewards_of_groups):
        for i, reward in enumerate(rewards):
            expected = reward - statistics.fmean(rewards)
            assert advantages[10 * g + i] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert len(advantages.of_rollout) == sum(map(len, rewards_of_groups))


@given(ragged_groups, st.sampled_from([1e-6, 0.1]))
def test_grpo_also_divides_by_the_sample_deviation_plus_epsilon(rewards_of_groups, epsilon):
    advantages = build_advantage(GrpoAdvantage(epsilon=epsilon))(groups(rewards_of_groups))
    for g, rewards in enumerate(rewards_of_groups):
        deviation = statistics.stdev(rewards) if len(rewards) > 1 else 0.0
        for i, reward in enumerate(rewards):
            expected = (reward - statistics.fmean(rewards)) / (deviation + epsilon)
            assert advantages[10 * g + i] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_grpo_divides_by_one_less_than_the_group_as_trl_and_verl_do():
    advantages = build_advantage(GrpoAdvantage(epsilon=1e-12))(groups([[1.0, 0.0]]))
    assert advantages[0] == pytest.approx(math.sqrt(0.5))  # 1.0 with the population deviation
    assert advantages[1] == pytest.approx(-math.sqrt(0.5))


@pytest.mark.parametrize("config", [GrpoAdvantage(), DrGrpoAdvantage()])
@given(reward=rewards, size=st.integers(1, 9))
def test_equal_rewards_and_a_group_of_one_give_exactly_zero(config, reward, size):
    advantages = build_advantage(config)(groups([[reward] * size]))
    assert list(advantages.of_rollout.values()) == [0.0] * size


@pytest.mark.parametrize("config", [GrpoAdvantage(), DrGrpoAdvantage()])
def test_the_baseline_counts_rollouts_not_samples(config):
    alone = build_advantage(config)(groups([[1.0, 0.0, 0.0]]))
    fanned_out = groups([[1.0, 0.0, 0.0]])
    first = fanned_out[0].rollouts[0]
    several = Rollout(first.id, 0, (None,) * 5, "text", Finish.stop, 1.0)
    fanned_out = [Group(fanned_out[0].prompt, (several, *fanned_out[0].rollouts[1:]))]
    assert dict(build_advantage(config)(fanned_out).of_rollout) == dict(alone.of_rollout)


@pytest.mark.parametrize("config", [GrpoAdvantage(), DrGrpoAdvantage()])
def test_groups_do_not_see_each_other(config):
    estimate = build_advantage(config)
    both = estimate(groups([[1.0, 0.0], [5.0, 9.0, 7.0]]))
    alone = estimate(groups([[1.0, 0.0]]))
    assert [both[0], both[1]] == [alone[0], alone[1]]


@pytest.mark.parametrize("reward", [None, math.nan, math.inf])
def test_a_rollout_without_a_finite_reward_is_an_error_that_names_it(reward):
    with pytest.raises(ValueError, match="rollout 1 has"):
        build_advantage(DrGrpoAdvantage())(groups([[1.0, reward]]))


def test_a_rollout_that_occurs_twice_is_an_error():
    [group] = groups([[1.0, 0.0]])
    with pytest.raises(ValueError, match="rollout 0 occurs twice"):
        build_advantage(DrGrpoAdvantage())([group, group])


def test_a_rollout_that_was_in_no_group_has_no_advantage():
    with pytest.raises(KeyError):
        build_advantage(DrGrpoAdvantage())(groups([[1.0, 0.0]]))[99]


def test_advantages_cannot_be_written_to():
    advantages = build_advantage(DrGrpoAdvantage())(groups([[1.0, 0.0]]))
    with pytest.raises(TypeError):
        advantages.of_rollout[0] = 7.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GrpoAdvantage(epsilon=0.0), "advantage.epsilon"),
        (AdvantageConfig(name="gae"), "got a AdvantageConfig"),
    ],
)
def test_an_illegal_advantage_node_is_a_config_error(config, message):
    with pytest.raises(ConfigError, match=message):
        build_advantage(config)

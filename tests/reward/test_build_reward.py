import pytest

from slime.config.schema import (
    ConfigError,
    ExactMatchReward,
    FirstNumberReward,
    FunctionReward,
    LastNumberReward,
)
from slime.reward import build_reward
from slime.reward.check import answer_problem


def test_each_choice_is_its_function():
    assert build_reward(FirstNumberReward())("1 2", "1") == 1.0
    assert build_reward(LastNumberReward())("1 2", "2") == 1.0
    assert build_reward(ExactMatchReward())("a", "a") == 1.0
    assert build_reward(FunctionReward(function="reward.misbehaving:moody"))("four", "") == 0.4


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("misbehaving", "must be written package.module:name"),
        (":moody", "must be written package.module:name"),
        ("reward.nowhere:moody", "cannot import reward.nowhere"),
        ("reward.misbehaving:happy", "has no happy"),
        ("reward.misbehaving:NOT_A_FUNCTION", "is a int, not a function"),
        ("reward.misbehaving:one_argument", r"must take \(response, answer\)"),
    ],
)
def test_a_function_that_cannot_be_used_is_named(path, said):
    with pytest.raises(ConfigError, match=said) as error:
        build_reward(FunctionReward(function=path))
    assert str(error.value).startswith(f"reward.function={path}")
    assert "\n" not in str(error.value)


def test_an_answer_that_can_never_be_right_is_found_before_training():
    problem = answer_problem(FirstNumberReward(), "Paris")
    assert problem == (
        "the answer 'Paris' is not a number, and reward=first_number compares numbers; use "
        "reward=exact_match or reward=function"
    )
    assert answer_problem(ExactMatchReward(), "Paris") is None
    assert answer_problem(LastNumberReward(), "-2.5") is None

"""RewardConfig -> the function that scores a response."""

from collections.abc import Callable

from slime.config.schema import (
    ExactMatchReward,
    FirstNumberReward,
    FunctionReward,
    LastNumberReward,
    RewardConfig,
)
from slime.config.schema.imported import import_function

Reward = Callable[[str, str], float]  # (response, answer) -> reward

_BUILT_IN = "slime.reward.answers"


def build_reward(config: RewardConfig) -> Reward:
    """The configured function; a user's own is imported.

    Raises ConfigError when it cannot be imported, is not there, or cannot be called with a response
    and an answer.
    """
    return load_reward(reward_path(config))


def reward_path(config: RewardConfig) -> str:
    """module:name of the function, by which another process finds it."""
    match config:
        case FirstNumberReward() | LastNumberReward() | ExactMatchReward():
            return f"{_BUILT_IN}:{config.name}"
        case FunctionReward(function=path):
            return path
    raise TypeError(f"no reward for {type(config).__name__}")


def load_reward(path: str) -> Reward:
    """The function at module:name; see build_reward for what is raised."""
    reward: Reward = import_function("reward.function", path, "response", "answer")
    return reward

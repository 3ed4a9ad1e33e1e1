"""RewardConfig -> the function that scores a response."""

import importlib
import inspect
from collections.abc import Callable

from slime.config.schema import (
    ConfigError,
    ExactMatchReward,
    FirstNumberReward,
    FunctionReward,
    LastNumberReward,
    RewardConfig,
)

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
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"reward.function={path} must be written package.module:name")
    try:
        module = importlib.import_module(module_name)
    except Exception as failed:  # whatever the user's module raises
        raise ConfigError(
            f"reward.function={path}: cannot import {module_name} ({describe(failed)}); it must be "
            f"on PYTHONPATH"
        ) from failed
    function = vars(module).get(name)
    if function is None:
        raise ConfigError(f"reward.function={path}: {module_name} has no {name}")
    if not callable(function):
        raise ConfigError(f"reward.function={path} is a {type(function).__name__}, not a function")
    _check_signature(path, function)
    reward: Reward = function
    return reward


def describe(error: BaseException) -> str:
    """The exception in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _check_signature(path: str, function: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions do not tell
        return
    try:
        signature.bind("response", "answer")
    except TypeError:
        raise ConfigError(
            f"reward.function={path} must take (response, answer), but takes {signature}"
        ) from None

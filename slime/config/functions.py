"""What can be known about functions of the user's own before anything is imported."""

from collections.abc import Iterator

from slime.config.function_source import source_problems
from slime.config.schema import Config, CustomLoss, FunctionReward
from slime.config.schema.imported import import_problems


def function_problems(config: Config) -> Iterator[str]:
    """A sentence for each function that is not there, or that is called otherwise."""
    if isinstance(config.loss, CustomLoss):
        yield from _problems("loss.function", config.loss.function, "step")
    if isinstance(config.reward, FunctionReward):
        yield from _problems("reward.function", config.reward.function, "response", "answer")


def _problems(key: str, path: str, *parameters: str) -> Iterator[str]:
    found = list(import_problems(key, path))
    yield from found or source_problems(key, path, *parameters)

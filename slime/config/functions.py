"""What can be known about functions of the user's own before anything is imported."""

from collections.abc import Iterator

from slime.config.schema import Config, CustomLoss, FunctionReward
from slime.config.schema.imported import import_problems


def function_problems(config: Config) -> Iterator[str]:
    """A sentence for each function whose package does not exist."""
    if isinstance(config.loss, CustomLoss):
        yield from import_problems("loss.function", config.loss.function)
    if isinstance(config.reward, FunctionReward):
        yield from import_problems("reward.function", config.reward.function)

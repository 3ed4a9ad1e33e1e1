"""What can be known about reward=... before training starts."""

from collections.abc import Iterable, Iterator

from slime.config.schema import FirstNumberReward, LastNumberReward, RewardConfig
from slime.reward.answers import number_of


def answer_problems(config: RewardConfig, answers: Iterable[str]) -> Iterator[str]:
    """One line when an answer can never be right under this reward (the first such answer)."""
    if not isinstance(config, FirstNumberReward | LastNumberReward):
        return
    for answer in answers:
        try:
            number_of(answer)
        except ValueError as not_a_number:
            yield (
                f"reward={config.name} compares numbers, but {not_a_number}; use "
                f"reward=exact_match or reward=function"
            )
            return

"""What can be known about reward=... before training starts."""

from slime.config.schema import FirstNumberReward, LastNumberReward, RewardConfig
from slime.reward.answers import number_of


def answer_problem(config: RewardConfig, answer: str) -> str | None:
    """Why `answer` can never be right under this reward; None if it can."""
    if not isinstance(config, FirstNumberReward | LastNumberReward):
        return None
    try:
        number_of(answer)
    except ValueError as not_a_number:
        return (
            f"{not_a_number}, and reward={config.name} compares numbers; use reward=exact_match or "
            f"reward=function"
        )
    return None

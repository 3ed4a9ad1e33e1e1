"""Advantages: from the rewards of a whole step to a number for each of its tokens."""

from slime.advantage.advantages import NO_PENALTIES, Advantages, PerToken
from slime.advantage.build import AdvantageEstimator, build_advantage

__all__ = [
    "NO_PENALTIES",
    "AdvantageEstimator",
    "Advantages",
    "PerToken",
    "build_advantage",
]

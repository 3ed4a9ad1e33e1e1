"""How a finished rollout is scored."""

from slime.reward.build import Reward, build_reward
from slime.reward.scorer import RewardFailure, ScoredGroups, Scorer

__all__ = ["Reward", "RewardFailure", "ScoredGroups", "Scorer", "build_reward"]

"""Advantages: one number per rollout, from the rewards of its group."""

from slime.advantage.estimators import Advantages, build_advantage

__all__ = ["Advantages", "build_advantage"]

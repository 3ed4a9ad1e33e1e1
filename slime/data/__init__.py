"""What flows through an iteration, as frozen values: prompts, rollouts, steps, packed batches.

token -> sample -> rollout -> prompt: the ids of this hierarchy are on every sample, and the loss,
the advantage baseline and the metrics all read the same ones.
"""

from slime.data.rollout import Finish, Group, Prompt, Rollout, Sample
from slime.data.shape import StepShape
from slime.data.step import EMPTY_STEP, Step, TrainSample

__all__ = [
    "EMPTY_STEP",
    "Finish",
    "Group",
    "Prompt",
    "Rollout",
    "Sample",
    "Step",
    "StepShape",
    "TrainSample",
]

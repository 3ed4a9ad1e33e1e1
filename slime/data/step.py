"""One optimizer step's samples with everything the loss needs, weights included."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from slime.data.rollout import Group, Sample


@dataclass(frozen=True, slots=True, eq=False)
class TrainSample:
    """A sample and what the whole step fixed for it."""

    sample: Sample
    advantages_R: Tensor  # float32; 0 where the loss mask is
    weight: float  # of every active token in the policy-gradient term
    auxiliary_weight: float  # of every active token in the KL and entropy terms
    old_log_probs_R: Tensor | None = None  # None: on policy, the current ones are the old ones
    reference_log_probs_R: Tensor | None = None  # None: no KL


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one optimizer step trains on.  The counts are of the whole step, idle ones included."""

    samples: tuple[TrainSample, ...]  # those that need a forward pass
    rollouts: int  # N
    prompts: int  # P
    active_tokens: int  # M_step
    groups: tuple[Group, ...] = ()  # that it was made of, with the loss masks it is trained under
    kl_penalty: float = 0.0  # what a KL in the reward took off, summed over its rollouts


# What is trained when a filter left no prompt of an iteration: nothing.
EMPTY_STEP = Step(samples=(), rollouts=0, prompts=0, active_tokens=0)


def kl_penalty_mean(steps: Sequence[Step]) -> float | None:
    """What a KL in the reward took off a rollout's reward, on average; None: no finite number."""
    rollouts = sum(step.rollouts for step in steps)
    mean = sum(step.kl_penalty for step in steps) / rollouts if rollouts else 0.0
    return mean if math.isfinite(mean) else None

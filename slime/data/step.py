"""One optimizer step's samples with everything the loss needs, weights included."""

from dataclasses import dataclass

from torch import Tensor

from slime.data.rollout import Sample


@dataclass(frozen=True, slots=True, eq=False)
class TrainSample:
    """A sample and what the whole step fixed for it."""

    sample: Sample
    advantages_R: Tensor  # float32
    weight: float  # of every active token in the policy-gradient term
    auxiliary_weight: float  # of every active token in the KL and entropy terms
    old_log_probs_R: Tensor | None = None  # None: on policy, the current ones are the old ones
    reference_log_probs_R: Tensor | None = None  # None: no KL term


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one optimizer step trains on.  The counts are of the whole step, idle ones included."""

    samples: tuple[TrainSample, ...]  # those that need a forward pass
    rollouts: int  # N
    prompts: int  # P
    active_tokens: int  # M_step

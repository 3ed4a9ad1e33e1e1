"""What the loss reads and what it returns, for the tokens of one micro-batch."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TokenTerms:
    """T response tokens of one micro-batch, whatever samples and rank they came from.

    weights_T and auxiliary_weights_T are the step weights of each token's sample: they were fixed
    for the whole step before it was split, so nothing here divides or counts.
    """

    log_probs_T: Tensor  # float32, current; carries the gradient
    entropy_T: Tensor  # float32; carries the gradient when the entropy bonus is on
    rollout_log_probs_T: Tensor  # float32, behaviour
    advantages_T: Tensor  # float32
    mask_T: Tensor  # bool; False: not an active token
    weights_T: Tensor  # float32
    auxiliary_weights_T: Tensor  # float32
    old_log_probs_T: Tensor | None = None  # None: on policy, the current ones are the old ones
    reference_log_probs_T: Tensor | None = None  # required when the loss has a KL term


@dataclass(frozen=True, slots=True, eq=False)
class MetricSums:
    """Sums over active tokens (float64 scalars, detached); add them over micro-batches and ranks.

    loss, pg_loss, kl_loss and entropy_loss are weighted by the step weights and are complete when
    added up; the others are plain sums, to be divided by active_tokens.
    """

    loss: Tensor
    pg_loss: Tensor
    kl_loss: Tensor
    entropy_loss: Tensor
    active_tokens: Tensor
    entropy: Tensor
    kl: Tensor
    ratio: Tensor
    clipped_low: Tensor
    clipped_high: Tensor
    rollout_logprob_abs_diff: Tensor

    def vector(self) -> Tensor:
        """-> [K] in field order, for one all-reduce."""
        return torch.stack([getattr(self, f.name) for f in fields(self)])

    @classmethod
    def from_vector(cls, values_K: Tensor) -> "MetricSums":
        return cls(**{f.name: v for f, v in zip(fields(cls), values_K, strict=True)})


@dataclass(frozen=True, slots=True, eq=False)
class LossOutput:
    """One micro-batch's share of the step loss (scalar, differentiable) and its metric sums."""

    loss: Tensor
    metrics: MetricSums

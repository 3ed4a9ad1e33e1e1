"""What the loss reads and what it returns, for the tokens of one micro-batch."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """The S samples of a micro-batch, for objectives that look at a whole sample.

    add_shards works in place: it adds what other workers hold of the same samples.
    """

    of_token_T: Tensor  # int64: which of the S samples each token belongs to
    active_tokens_S: Tensor  # floating: of each whole sample, counted before the step was split
    add_shards: Callable[[Tensor], None]


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
    sequences: Sequences | None = None  # required when the objective looks at whole samples

    def __post_init__(self) -> None:
        """Raises ValueError unless all have the shape [T]: torch would broadcast without a word."""
        size = self.log_probs_T.shape
        if len(size) != 1:
            raise ValueError(f"log_probs_T must be one-dimensional, got shape {tuple(size)}")
        for f in fields(self):
            values = getattr(self, f.name)
            if isinstance(values, Tensor) and values.shape != size:
                raise ValueError(
                    f"{f.name} has shape {tuple(values.shape)}, log_probs_T {tuple(size)}"
                )


class Normalizer(Enum):
    """What turns the sum of a whole step into the metric of the same name."""

    nothing = "nothing"  # weighted by the step weights, or a count: complete when added up
    active_tokens = "active_tokens"  # a mean over the active tokens of the step


def _complete() -> Any:
    return field(metadata={"normalizer": Normalizer.nothing})


def _per_active_token() -> Any:
    return field(metadata={"normalizer": Normalizer.active_tokens})


@dataclass(frozen=True, slots=True, eq=False)
class MetricSums:
    """Sums over active tokens (float64 scalars, detached); add them over micro-batches and ranks.

    Each has the name of the metric it becomes and says what normalises it: none depends on
    loss/aggregation in another way than the loss does.
    """

    loss: Tensor = _complete()
    pg_loss: Tensor = _complete()
    kl_loss: Tensor = _complete()
    entropy_loss: Tensor = _complete()
    active_tokens: Tensor = _complete()
    entropy: Tensor = _per_active_token()
    kl: Tensor = _per_active_token()
    ratio: Tensor = _per_active_token()
    clip_fraction_low: Tensor = _per_active_token()
    clip_fraction_high: Tensor = _per_active_token()
    rollout_logprob_abs_diff: Tensor = _per_active_token()
    correction_ratio: Tensor = _per_active_token()
    correction_fraction: Tensor = _per_active_token()

    @classmethod
    def normalizer(cls, name: str) -> Normalizer:
        """Of the sum with this name."""
        normalizer: Normalizer = cls.__dataclass_fields__[name].metadata["normalizer"]
        return normalizer

    @classmethod
    def zeros(cls) -> "MetricSums":
        """Of no tokens at all."""
        return cls.from_vector(torch.zeros(len(fields(cls)), dtype=torch.float64))

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

"""What one optimizer step reports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """The same on every rank.  A value that is not a finite number is None, so it is always JSON.

    loss, pg_loss, kl_loss and entropy_loss are sums weighted by the step weights, loss being the
    sum of the other three.  entropy to correction_fraction are means over the active tokens that
    were trained on, 0 when there are none.
    """

    loss: float | None
    pg_loss: float | None
    kl_loss: float | None
    entropy_loss: float | None
    entropy: float | None  # nats per token
    kl: float | None  # estimate of the KL to the reference, nats per token
    ratio: float | None  # current over old probability
    clip_fraction_low: float | None  # share of tokens whose gradient the lower bound took away
    clip_fraction_high: float | None
    rollout_logprob_abs_diff: float | None  # nats
    correction_ratio: float | None  # old over rollout probability, before any correction
    correction_fraction: float | None  # share of tokens truncated (tis) or masked (icepop)
    active_tokens: int
    grad_norm: float | None  # before clipping
    learning_rate: float  # of this step
    skipped: bool  # True: nan or inf in the loss or the gradient; nothing was changed


# A step without an active token: every sum and mean of nothing, and no update.
NOTHING_TO_TRAIN = StepMetrics(
    loss=0.0,
    pg_loss=0.0,
    kl_loss=0.0,
    entropy_loss=0.0,
    entropy=0.0,
    kl=0.0,
    ratio=0.0,
    clip_fraction_low=0.0,
    clip_fraction_high=0.0,
    rollout_logprob_abs_diff=0.0,
    correction_ratio=0.0,
    correction_fraction=0.0,
    active_tokens=0,
    grad_norm=0.0,
    learning_rate=0.0,
    skipped=True,
)


@dataclass(frozen=True, slots=True)
class StepGradient:
    """What a step would report, and the gradient of its loss, before clipping.

    shards: safetensors files in memory, float32 under Hugging Face names, which together hold every
    parameter once.
    """

    metrics: StepMetrics
    shards: tuple[bytes, ...]

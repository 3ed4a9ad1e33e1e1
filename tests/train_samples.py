"""Training samples of one step, made by hand, and the settings they are trained with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tiny_models import VOCABULARY

from slime.config.schema import (
    K3,
    PPO,
    AdamConfig,
    KLConfig,
    LossConfig,
    ParallelConfig,
    Precision,
    SampleMeanLoss,
)
from slime.data import Sample, TrainSample
from slime.megatron.spec import TrainWorkerSpec

TEMPERATURE = 0.7

# Every term of the loss counts, and ratios leave the clip range on both sides.
EVERY_TERM = SampleMeanLoss(
    objective=PPO(clip_low=0.2, clip_high=0.3), entropy_coefficient=0.05, kl=K3(coefficient=0.3)
)
POLICY_ONLY = SampleMeanLoss(kl=KLConfig())

# eps is large here: where gradients are compared through weights, an element whose gradient is
# rounding noise must not become a full step.
SMOOTH_ADAM = AdamConfig(learning_rate=1e-3, eps=1e-4, weight_decay=0.1, clip_grad=0.5)


def worker_spec(
    folder: Path,
    *,
    loss: LossConfig = EVERY_TERM,
    optimizer: AdamConfig = SMOOTH_ADAM,
    data: int = 1,
    tensor: int = 1,
    precision: Precision = Precision.float32,
    total_steps: int = 10,
) -> TrainWorkerSpec:
    parallel = ParallelConfig(
        data=data, tensor=tensor, max_tokens_per_microbatch=64, precision=precision
    )
    return TrainWorkerSpec(
        str(folder), loss, optimizer, parallel, TEMPERATURE, total_steps=total_steps, seed=0
    )


def train_samples(count: int = 9, *, seed: int = 0) -> list[TrainSample]:
    """Ragged, partly masked, the last one fully; log-probs of all kinds are drawn around the real.

    Weights are any positive numbers: the trainer has no say in them.
    """
    generator = torch.Generator().manual_seed(seed)
    return [_train_sample(i, count, generator) for i in range(count)]


def _train_sample(i: int, count: int, generator: torch.Generator) -> TrainSample:
    def draw(low: int, high: int, size: int = 1) -> torch.Tensor:
        return torch.randint(low, high, (size,), generator=generator)

    prompt, response = int(draw(1, 9)), int(draw(1, 12))
    mask_R = torch.rand(response, generator=generator) < (0.7 if i < count - 1 else 0.0)
    sample = Sample(
        prompt_id=i // 3,
        rollout_id=i,
        prompt_tokens_P=draw(0, VOCABULARY, prompt),
        response_tokens_R=draw(0, VOCABULARY, response),
        loss_mask_R=mask_R,
        rollout_log_probs_R=-4.5 + 0.3 * torch.randn(response, generator=generator),
    )
    weight, auxiliary_weight = torch.rand(2, generator=generator, dtype=torch.float64) / count
    return TrainSample(
        sample=sample,
        advantages_R=torch.randn(1, generator=generator).expand(response).clone(),
        weight=weight.item(),
        auxiliary_weight=auxiliary_weight.item(),
    )


def with_log_probs(
    samples: Sequence[TrainSample], current: Sequence[torch.Tensor], *, seed: int = 1
) -> list[TrainSample]:
    """Old and reference log-probs near the current ones, as far off as a few steps bring them."""
    generator = torch.Generator().manual_seed(seed)

    def near(log_probs_R: torch.Tensor) -> torch.Tensor:
        return log_probs_R + 0.4 * torch.randn(log_probs_R.shape, generator=generator)

    return [
        replace(s, old_log_probs_R=near(c), reference_log_probs_R=near(c))
        for s, c in zip(samples, current, strict=True)
    ]

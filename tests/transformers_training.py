"""The same steps with transformers, torch's AdamW and float64, the loss written out in loops.

Runs in a process of its own.  Shares no code with slime's loss, packing or trainer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slime.config.schema import K3, AdamConfig, SampleMeanLoss
from slime.data import TrainSample


@dataclass(frozen=True)
class Step:
    loss: float
    gradient: dict[str, torch.Tensor]  # before clipping
    grad_norm: float
    weights: dict[str, torch.Tensor]  # afterwards


def log_probs(
    _rank: int, folders: Sequence[Path], samples: Sequence[TrainSample],
    temperature: float,
) -> list[list[torch.Tensor]]:  # fmt: skip
    """Of the response tokens, per folder and sample."""
    with torch.no_grad():
        return [
            [_response(_model(folder), sample, temperature)[0] for sample in samples]
            for folder in folders
        ]


def train(
    _rank: int, jobs: Sequence[tuple[Path, Sequence[TrainSample]]], steps: int, temperature: float,
    loss: SampleMeanLoss, adam: AdamConfig,
) -> list[list[Step]]:  # fmt: skip
    """Per job (a model and the samples of each of its steps) its steps."""
    return [
        _train(_model(folder), steps, samples, temperature, loss, adam) for folder, samples in jobs
    ]


def _train(
    model: Any, steps: int, samples: Sequence[TrainSample], temperature: float,
    loss: SampleMeanLoss, adam: AdamConfig,
) -> list[Step]:  # fmt: skip
    named = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in named.values() if p.dim() > 1]},
            {"params": [p for p in named.values() if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=adam.learning_rate,
        betas=(adam.beta1, adam.beta2),
        eps=adam.eps,
        weight_decay=adam.weight_decay,
    )
    done = []
    for _ in range(steps):
        optimizer.zero_grad()
        total = sum(_loss(model, sample, temperature, loss) for sample in samples)
        total.backward()
        gradient = {name: p.grad.clone() for name, p in named.items()}
        norm = torch.nn.utils.clip_grad_norm_(named.values(), adam.clip_grad)
        optimizer.step()
        weights = {name: p.detach().clone() for name, p in named.items()}
        done.append(Step(float(total), gradient, float(norm), weights))
    return done


def _model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


def _response(
    model: Any, train_sample: TrainSample, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """-> log-prob and entropy of each response token [R]"""
    sample = train_sample.sample
    tokens = torch.cat([sample.prompt_tokens_P, sample.response_tokens_R])
    logits = model(tokens[None]).logits[0] / temperature
    table = logits[len(sample.prompt_tokens_P) - 1 : -1].log_softmax(-1)
    chosen = torch.stack([row[t] for row, t in zip(table, sample.response_tokens_R, strict=True)])
    return chosen, -(table.exp() * table).sum(-1)


def _loss(
    model: Any, train_sample: TrainSample, temperature: float, loss: SampleMeanLoss
) -> torch.Tensor:
    assert isinstance(loss.kl, K3)
    current_R, entropy_R = _response(model, train_sample, temperature)
    total = torch.zeros((), dtype=torch.float64)
    for t, active in enumerate(train_sample.sample.loss_mask_R.tolist()):
        if not active:
            continue
        advantage = train_sample.advantages_R[t].double()
        ratio = torch.exp(current_R[t] - train_sample.old_log_probs_R[t].double())
        too_low = advantage < 0 and ratio < 1 - loss.objective.clip_low
        too_high = advantage > 0 and ratio > 1 + loss.objective.clip_high
        bound = 1 - loss.objective.clip_low if too_low else 1 + loss.objective.clip_high
        policy = -advantage * (bound if too_low or too_high else ratio)
        gap = train_sample.reference_log_probs_R[t].double() - current_R[t]
        divergence = torch.exp(gap) - 1 - gap
        auxiliary = loss.kl.coefficient * divergence - loss.entropy_coefficient * entropy_R[t]
        total = total + train_sample.weight * policy + train_sample.auxiliary_weight * auxiliary
    return total

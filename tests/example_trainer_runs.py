"""Runs of examples/hf_trainer.py that keep the gradient of every step."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from example_steps import VOCABULARY, TextSample, configs
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from examples.hf_trainer import ExactLossTrainer, Sample, arguments, weighted
from slime.config.schema import LossConfig


@dataclass(frozen=True)
class StepTaken:
    loss: float
    gradients: dict[str, Tensor]


def model_of(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).double()


def rows_of(samples: Sequence[TextSample], config: LossConfig) -> list[dict[str, Tensor]]:
    return weighted(
        [
            Sample(
                tokens_L=torch.tensor(s.tokens),
                active_L=torch.tensor(s.active),
                rollout_log_probs_L=torch.tensor(s.rollout_log_probs, dtype=torch.float64),
                advantage=s.advantage,
                rollout_id=s.rollout,
                prompt_id=s.prompt,
            )
            for s in samples
        ],
        config,
    )


class KeepGradients(TrainerCallback):
    def __init__(self):
        self.kept: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, *_, model, **others):  # noqa: ARG002
        self.kept.append({n: p.grad.detach().cpu().clone() for n, p in model.named_parameters()})


def gradients_of(
    model: LlamaForCausalLM,
    steps: Sequence[Sequence[TextSample]],
    config: LossConfig,
    micro_batch_size: int,
) -> list[StepTaken]:
    """One Trainer run over the steps, whose weights it leaves as they are."""
    keep = KeepGradients()
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments(folder, len(steps[0]), micro_batch_size)
        settings.learning_rate = 0.0
        settings.max_grad_norm = 0.0
        trainer = ExactLossTrainer(
            config=config,
            model=model,
            args=settings,
            train_dataset=[row for samples in steps for row in rows_of(samples, config)],
            callbacks=[keep],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return [StepTaken(loss, kept) for loss, kept in zip(losses, keep.kept, strict=True)]


def data_parallel_run(
    rank: int, port: int, steps: Sequence[Sequence[TextSample]]
) -> list[list[StepTaken]]:
    """One of two processes that share every micro-batch.  -> a run for each config"""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "1",
    }
    runs = [gradients_of(model_of(seed=0), steps, config, 1) for config in configs()]
    assert torch.distributed.get_world_size() == 2
    return runs

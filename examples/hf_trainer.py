"""slime's loss inside a Hugging Face Trainer.  It needs torch, transformers and accelerate.

    python examples/hf_trainer.py

The weights are columns of the dataset, computed once from the shape of each whole step.  Trainer
averages losses over micro-batches and processes; both averages are undone, each in one line.
"""

import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from slime.config.schema import LossConfig, TokenMeanLoss
from slime.data import StepShape
from slime.loss import (
    TokenTerms,
    build_aggregation,
    build_auxiliary_aggregation,
    build_loss,
    log_probs_and_entropy,
)


@dataclass(frozen=True)
class Sample:
    """A prompt and its response, of together L tokens."""

    tokens_L: Tensor
    active_L: Tensor  # bool; True: a response token that is trained on
    rollout_log_probs_L: Tensor  # of each token, from whatever generated it
    advantage: float
    rollout_id: int  # samples of one rollout share its id
    prompt_id: int


def weighted(samples: list[Sample], config: LossConfig) -> list[dict[str, Tensor]]:
    """All samples of one optimizer step -> its rows of the dataset, every column [L]."""
    step = StepShape(
        active_tokens=torch.tensor([int(s.active_L.sum()) for s in samples]),
        rollout_ids=torch.tensor([s.rollout_id for s in samples]),
        prompt_ids=torch.tensor([s.prompt_id for s in samples]),
    )
    weights_S = build_aggregation(config)(step)
    auxiliary_weights_S = build_auxiliary_aggregation(config)(step)  # of KL and entropy
    return [
        {
            "tokens": s.tokens_L,
            "active": s.active_L,
            "rollout_log_probs": s.rollout_log_probs_L,
            "advantages": torch.full(s.tokens_L.shape, s.advantage),
            "weights": weight.expand(s.tokens_L.shape),
            "auxiliary_weights": auxiliary_weight.expand(s.tokens_L.shape),
        }
        for s, weight, auxiliary_weight in zip(samples, weights_S, auxiliary_weights_S, strict=True)
    ]


def padded(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """At the end, where a causal model lets no token see the padding; it is not active."""
    return {name: pad_sequence([row[name] for row in rows], batch_first=True) for name in rows[0]}


class ExactLossTrainer(Trainer):
    """Trainer whose gradient is that of the whole step's loss, however the step is split."""

    loss_is_scaled_for_ga = True  # else Trainer divides by the number of micro-batches

    def __init__(self, *, config: LossConfig, **others: Any) -> None:
        super().__init__(data_collator=padded, **others)
        self.share_of_step = build_loss(config)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        tokens_BL, active_BL = inputs["tokens"], inputs["active"]
        # Logits of one token only: the loss makes its own from the hidden states, in pieces.
        outputs = model(tokens_BL, output_hidden_states=True, logits_to_keep=1, use_cache=False)
        log_probs_T, entropy_T = log_probs_and_entropy(
            outputs.hidden_states[-1][:, :-1][active_BL[:, 1:]],  # each predicts the token after it
            self.accelerator.unwrap_model(model).get_output_embeddings().weight,
            tokens_BL[active_BL],
            temperature=1.0,
            entropy_gradient=self.share_of_step.needs_entropy_gradient,
        )
        terms = TokenTerms(
            log_probs_T=log_probs_T,
            entropy_T=entropy_T,
            rollout_log_probs_T=inputs["rollout_log_probs"][active_BL],
            advantages_T=inputs["advantages"][active_BL],
            mask_T=active_BL[active_BL],  # all True: the others were left out above
            weights_T=inputs["weights"][active_BL],
            auxiliary_weights_T=inputs["auxiliary_weights"][active_BL],
        )
        # Data parallelism averages the gradients of the processes, whose shares are to be added.
        loss = self.share_of_step(terms).loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


def arguments(folder: str, samples_per_step: int, micro_batch_size: int) -> TrainingArguments:
    """One optimizer step for each step's samples, in the order in which they were weighted."""
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=micro_batch_size,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        num_train_epochs=1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    at_a_time = arguments.train_batch_size * arguments.world_size
    if samples_per_step % at_a_time:  # Trainer would repeat samples or mix two steps
        raise ValueError(f"{samples_per_step} samples do not split into batches of {at_a_time}")
    arguments.gradient_accumulation_steps = samples_per_step // at_a_time
    return arguments


def random_samples(vocabulary: int) -> list[Sample]:
    """Prompt 70 has two rollouts; prompt 80 has one, which fans out into two samples."""
    return [
        Sample(
            tokens_L=torch.randint(vocabulary, (3 + response_tokens,)),
            active_L=torch.arange(3 + response_tokens) >= 3,
            rollout_log_probs_L=torch.zeros(3 + response_tokens),
            advantage=advantage,
            rollout_id=rollout_id,
            prompt_id=prompt_id,
        )
        for response_tokens, advantage, rollout_id, prompt_id in (
            (2, 1.0, 1, 70),
            (6, -0.5, 2, 70),
            (1, 0.5, 3, 80),
            (3, 0.5, 3, 80),
        )
    ]


def tiny_model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
        )
    )


def main() -> None:
    config = TokenMeanLoss()
    for micro_batch_size in (1, 2, 4):
        torch.manual_seed(0)
        model, samples = tiny_model(), random_samples(vocabulary=50)
        with tempfile.TemporaryDirectory() as folder:
            trainer = ExactLossTrainer(
                config=config,
                model=model,
                args=arguments(folder, len(samples), micro_batch_size),
                train_dataset=weighted(samples, config),
            )
            trainer.train()
        first = trainer.state.log_history[0]
        print(
            f"micro-batches of {micro_batch_size}: "
            f"loss {first['loss']:.6f}, gradient {first['grad_norm']:.6f}"
        )


if __name__ == "__main__":
    main()

"""slime's loss in a plain torch training loop.  It needs torch and nothing else.

    python examples/plain_torch.py

The weights come once from the shape of the whole step; micro-batches multiply and sum.  So the
loss and its gradient are the same for every micro_batch_size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slime.config.schema import LossConfig, PromptMeanLoss
from slime.data import StepShape
from slime.loss import (
    TokenTerms,
    build_aggregation,
    build_auxiliary_aggregation,
    build_loss,
    log_probs_and_entropy,
)


@dataclass(frozen=True)
class Samples:
    """The S samples of one optimizer step: prompt and response, padded at the end to L tokens."""

    tokens_SL: Tensor
    active_SL: Tensor  # bool; True: a response token that is trained on
    rollout_log_probs_SL: Tensor  # of each token, from whatever generated it
    advantages_S: Tensor
    rollout_ids_S: Tensor  # samples of one rollout share its id
    prompt_ids_S: Tensor


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    config: LossConfig,
    micro_batch_size: int,
) -> float:
    """One optimizer step.  -> its loss"""
    active_tokens_S = samples.active_SL.sum(1)
    step = StepShape(active_tokens_S, samples.rollout_ids_S, samples.prompt_ids_S)
    weights_S = build_aggregation(config)(step)
    auxiliary_weights_S = build_auxiliary_aggregation(config)(step)  # of KL and entropy
    loss = build_loss(config)

    step_loss = 0.0
    optimizer.zero_grad()
    for batch in torch.arange(len(active_tokens_S)).split(micro_batch_size):
        tokens_BL, active_BL = samples.tokens_SL[batch], samples.active_SL[batch]
        hidden_BLH = model(tokens_BL)
        log_probs_T, entropy_T = log_probs_and_entropy(
            hidden_BLH[:, :-1][active_BL[:, 1:]],  # a hidden state predicts the token after it
            model.output.weight,
            tokens_BL[active_BL],
            temperature=1.0,
            entropy_gradient=loss.needs_entropy_gradient,
        )
        sample_T = batch.repeat_interleave(active_tokens_S[batch])
        terms = TokenTerms(
            log_probs_T=log_probs_T,
            entropy_T=entropy_T,
            rollout_log_probs_T=samples.rollout_log_probs_SL[batch][active_BL],
            advantages_T=samples.advantages_S[sample_T],
            mask_T=torch.ones_like(sample_T, dtype=torch.bool),  # the others were left out above
            weights_T=weights_S[sample_T],
            auxiliary_weights_T=auxiliary_weights_S[sample_T],
        )
        share = loss(terms).loss
        share.backward()  # divided by nothing: the shares of all micro-batches add up
        step_loss += share.item()
    optimizer.step()
    return step_loss


class TinyModel(nn.Module):
    """Any causal model will do."""

    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.layer = nn.GRU(hidden, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary, bias=False)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        hidden_BLH, _ = self.layer(self.embedding(tokens_BL))
        return hidden_BLH


def random_samples(vocabulary: int) -> Samples:
    """Prompt 70 has two rollouts; prompt 80 has one, which fans out into two samples."""
    response_tokens_S = torch.tensor([2, 6, 1, 3])
    position_L = torch.arange(10)
    return Samples(
        tokens_SL=torch.randint(vocabulary, (4, 10)),
        active_SL=(position_L >= 3) & (position_L < 3 + response_tokens_S[:, None]),
        rollout_log_probs_SL=torch.zeros(4, 10),
        advantages_S=torch.tensor([1.0, -0.5, 0.5, 0.5]),
        rollout_ids_S=torch.tensor([1, 2, 3, 3]),
        prompt_ids_S=torch.tensor([70, 70, 80, 80]),
    )


def main() -> None:
    for micro_batch_size in (1, 3, 4):
        torch.manual_seed(0)
        model, samples = TinyModel(vocabulary=50, hidden=16), random_samples(vocabulary=50)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        loss = train_step(model, optimizer, samples, PromptMeanLoss(), micro_batch_size)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        print(
            f"micro-batches of {micro_batch_size}: loss {loss:.6f}, gradient {gradient.norm():.6f}"
        )


if __name__ == "__main__":
    main()

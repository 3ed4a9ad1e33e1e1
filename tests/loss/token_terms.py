"""Tokens of a micro-batch by hypothesis, as the oracle and as the loss read them."""

from collections.abc import Sequence
from dataclasses import fields

import torch
from hypothesis import strategies as st
from loss.loss_oracle import Token
from torch import Tensor

from slime.loss import MetricSums, Sequences, TokenTerms

log_probs = st.floats(-4, 0, width=32)
weights = st.floats(0, 1, width=32)
tokens = st.builds(
    Token,
    current=log_probs,
    advantage=st.one_of(st.just(0.0), st.floats(-3, 3, width=32)),
    weight=weights,
    auxiliary_weight=weights,
    active=st.booleans(),
    rollout=log_probs,
    entropy=st.floats(0, 5, width=32),
    old=log_probs,
    reference=log_probs,
)


def terms(
    micro_batch: Sequence[Token],
    dtype: torch.dtype = torch.float64,
    on_policy: bool = False,
    sequences: Sequences | None = None,
) -> TokenTerms:
    def column(name: str) -> Tensor:
        return torch.tensor([getattr(token, name) for token in micro_batch], dtype=dtype)

    return TokenTerms(
        log_probs_T=column("current").requires_grad_(),
        entropy_T=column("entropy").requires_grad_(),
        rollout_log_probs_T=column("rollout"),
        advantages_T=column("advantage"),
        mask_T=torch.tensor([token.active for token in micro_batch], dtype=torch.bool),
        weights_T=column("weight"),
        auxiliary_weights_T=column("auxiliary_weight"),
        old_log_probs_T=None if on_policy else column("old"),
        reference_log_probs_T=column("reference"),
        sequences=sequences,
    )


def sequences_of(micro_batch: Sequence[Token], whole: Sequence[Token] | None = None) -> Sequences:
    """Of a micro-batch that holds `whole` samples alone, or shares them with others."""
    whole = micro_batch if whole is None else whole
    numbers = sorted({token.sequence for token in whole})
    active = [sum(t.active for t in whole if t.sequence == number) for number in numbers]
    return Sequences(
        of_token_T=torch.tensor([numbers.index(t.sequence) for t in micro_batch]).long(),
        active_tokens_S=torch.tensor(active, dtype=torch.float32),
        add_shards=lambda _: None,
    )


def as_floats(metrics: MetricSums) -> dict[str, float]:
    return {f.name: getattr(metrics, f.name).item() for f in fields(MetricSums)}

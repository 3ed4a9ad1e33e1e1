"""Train samples for tests of the layout, by hand and by hypothesis."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st

from slime.data import Sample, TrainSample


def train_sample(
    prompt: int,
    response: int,
    *,
    rollout_id: int = 0,
    prompt_id: int = 0,
    mask: list[bool] | None = None,
    old: bool = False,
    reference: bool = False,
    weight: float = 0.5,
    auxiliary_weight: float = 0.25,
) -> TrainSample:
    """Numbers that differ from token to token and, by the rollout id, from sample to sample."""
    generator = torch.Generator().manual_seed(rollout_id)

    def log_probs() -> torch.Tensor:
        return -torch.rand(response, generator=generator)

    return TrainSample(
        sample=Sample(
            prompt_id=prompt_id,
            rollout_id=rollout_id,
            prompt_tokens_P=1000 * rollout_id + torch.arange(prompt),
            response_tokens_R=1000 * rollout_id + 500 + torch.arange(response),
            loss_mask_R=torch.tensor(mask if mask is not None else [True] * response).bool(),
            rollout_log_probs_R=log_probs(),
        ),
        advantages_R=torch.randn(response, generator=generator),
        weight=weight,
        auxiliary_weight=auxiliary_weight,
        old_log_probs_R=log_probs() if old else None,
        reference_log_probs_R=log_probs() if reference else None,
    )


@st.composite
def lengths(draw: Callable[..., int]) -> tuple[int, int]:
    """Prompt and response tokens; a response may be empty."""
    return draw(st.integers(1, 9)), draw(st.integers(0, 12))

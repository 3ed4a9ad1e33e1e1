"""The loss of a step from the formulas: float64, one sample and one token at a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from loss.loss_oracle import step_weights
from torch import Tensor

from slime.config.schema import (
    TIS,
    ConstantLoss,
    LossConfig,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
)

VOCABULARY, CAP, ENTROPY_COEFFICIENT, DIVISOR = 11, 1.5, 0.3, 7.0


@dataclass(frozen=True)
class TextSample:
    """Position 0 is the prompt's and never active."""

    tokens: tuple[int, ...]
    active: tuple[bool, ...]
    rollout_log_probs: tuple[float, ...]
    advantage: float
    rollout: int
    prompt: int


def configs() -> list[LossConfig]:
    """A mode each, with an entropy bonus and truncated importance sampling."""
    terms = {"entropy_coefficient": ENTROPY_COEFFICIENT, "correction": TIS(cap=CAP)}
    return [
        SampleMeanLoss(**terms),
        PromptMeanLoss(**terms),
        TokenMeanLoss(**terms),
        ConstantLoss(divisor=DIVISOR, **terms),
    ]


@st.composite
def steps(draw) -> list[TextSample]:
    """Ragged groups, rollouts of one or two samples, masks with zeros anywhere."""
    samples, rollout = [], 0
    for prompt in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 3))):
            rollout += 1
            for _ in range(draw(st.integers(1, 2))):
                active = (False, *draw(st.lists(st.booleans(), max_size=6)))
                size = {"min_size": len(active), "max_size": len(active)}
                tokens = draw(st.lists(st.integers(0, VOCABULARY - 1), **size))
                log_probs = draw(st.lists(st.floats(-4, 0), **size))
                advantage = draw(st.floats(-2, 2))
                samples.append(
                    TextSample(
                        tuple(tokens), active, tuple(log_probs), advantage, rollout, 70 + prompt
                    )
                )
    return samples


def step_loss(
    samples: Sequence[TextSample], mode: str, log_p_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """On policy.  log_p_of: tokens [L] -> log-softmax [L, V] of the token after each."""
    ids = [sum(s.active) for s in samples], [s.rollout for s in samples]
    prompts = [s.prompt for s in samples]
    weights = step_weights(mode, *ids, prompts, divisor=DIVISOR)
    auxiliary_mode = "token_mean" if mode == "token_mean" else "sample_mean"
    auxiliary_weights = step_weights(auxiliary_mode, *ids, prompts)

    loss = torch.zeros((), dtype=torch.float64)
    for sample, weight, auxiliary in zip(samples, weights, auxiliary_weights, strict=True):
        log_p_LV = log_p_of(torch.tensor(sample.tokens)).double()
        for t, active in enumerate(sample.active):
            if not active:
                continue
            log_p_V = log_p_LV[t - 1]
            log_prob = log_p_V[sample.tokens[t]]
            correction = min(math.exp(log_prob.item() - sample.rollout_log_probs[t]), CAP)
            ratio = torch.exp(log_prob - log_prob.detach())
            loss = loss - weight * correction * ratio * sample.advantage
            entropy = -(log_p_V.exp() * log_p_V).sum()
            loss = loss - auxiliary * ENTROPY_COEFFICIENT * entropy
    return loss

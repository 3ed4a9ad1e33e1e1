"""Aggregations as users write them, on good days and on bad ones."""

import torch

from slime.data import StepShape

NOT_A_FUNCTION = 3


def token_mean(step: StepShape) -> torch.Tensor:
    """float32, and a weight even for samples without an active token."""
    return torch.ones(len(step.active_tokens)) / step.active_tokens.sum()


def by_prompt(step: StepShape) -> torch.Tensor:
    return 1.0 + step.prompt_ids % 2


def writes_into_the_step(step: StepShape) -> torch.Tensor:
    step.active_tokens.fill_(1)
    step.rollout_ids.zero_()
    return torch.ones(len(step.active_tokens))


def no_argument() -> None: ...


def two_arguments(step: StepShape, config: object) -> None: ...


def raises(_: StepShape) -> torch.Tensor:
    raise RuntimeError("no idea\nat all")


def a_list(step: StepShape) -> list[float]:
    return [1.0] * len(step.active_tokens)


def one_number(_: StepShape) -> torch.Tensor:
    return torch.tensor(1.0)


def per_rollout(step: StepShape) -> torch.Tensor:
    return torch.ones(len(step.rollout_ids.unique()))


def integers(step: StepShape) -> torch.Tensor:
    return step.active_tokens


def one_over_length(step: StepShape) -> torch.Tensor:
    return 1 / step.active_tokens


def one_over_shorter(step: StepShape) -> torch.Tensor:
    return 1 / (step.active_tokens - 1)


def negative(step: StepShape) -> torch.Tensor:
    return 4.0 - step.active_tokens


def wrong_from_eight_samples_on(step: StepShape) -> torch.Tensor:
    samples = len(step.active_tokens)
    return torch.full((samples,), float("nan") if samples > 7 else 1.0)


def fails_from_eight_samples_on(step: StepShape) -> torch.Tensor:
    if len(step.active_tokens) > 7:
        raise KeyError(len(step.active_tokens))
    return torch.ones(len(step.active_tokens))


def leaves(_: StepShape) -> torch.Tensor:
    raise SystemExit(0)


def no_values(step: StepShape) -> torch.Tensor:
    return torch.ones(len(step.active_tokens), device="meta")


def tiny(step: StepShape) -> torch.Tensor:
    return torch.full((len(step.active_tokens),), 1e-60, dtype=torch.float64)


def sparse(step: StepShape) -> torch.Tensor:
    return token_mean(step).to_sparse()

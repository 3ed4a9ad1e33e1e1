"""Step weights: how much each sample's tokens count in the loss of one optimizer step.

    step loss = sum_s weights[s] * sum_t mask[s, t] * term[s, t]

The weights depend on the shape of the whole step and on nothing else, so the loss is the same
number however the step is split over ranks and micro-batches.  N rollouts, P prompts and M active
tokens are counted from the ids on the samples.  A sample without an active token has weight 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from slime.config.schema import (
    AuxiliaryAggregation,
    ConfigError,
    ConstantLoss,
    CustomLoss,
    EmptyUnits,
    LossConfig,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
    check,
)
from slime.data import StepShape
from slime.loss.custom import build_custom

Aggregation = Callable[[StepShape], Tensor]


def sample_mean(step: StepShape, *, empty_units: EmptyUnits) -> Tensor:
    """1 / (N * M_rollout): every rollout counts the same (GRPO, arXiv:2402.03300 eq. 3).

    A rollout of several samples counts once; its M is the sum over its samples.
    -> [S] float64
    """
    return _unit_mean(step, step.rollout_ids, empty_units)


def prompt_mean(step: StepShape, *, empty_units: EmptyUnits) -> Tensor:
    """1 / (P * M_prompt): every prompt counts the same.

    Source: DAPO, arXiv:2503.14476 eq. 8, as written; ScaleRL, arXiv:2510.13786 section 3.2.
    -> [S] float64.  Raises ValueError when the step has no prompt ids.
    """
    if step.prompt_ids is None:
        raise ValueError(
            "prompt_mean needs the prompt id of every sample, but this step's prompt_ids is None "
            "(loss/aggregation, loss.auxiliary_aggregation)"
        )
    return _unit_mean(step, step.prompt_ids, empty_units)


def token_mean(step: StepShape) -> Tensor:
    """1 / M_step: every active token of the step counts the same (DAPO, as coded).

    -> [S] float64
    """
    return _one_over(step.active_tokens.sum().expand_as(step.active_tokens), step)


def constant(step: StepShape, *, divisor: float, empty_units: EmptyUnits) -> Tensor:
    """1 / (N * divisor): every token counts the same, whatever the lengths (Dr.GRPO).

    Source: arXiv:2503.20783 eq. 2, with its generation budget as divisor.
    -> [S] float64
    """
    rollouts = _Units.counted(step.rollout_ids, step).count(empty_units)
    return _one_over(
        torch.full(step.active_tokens.shape, rollouts * float(divisor), dtype=torch.float64), step
    )


def build_aggregation(config: LossConfig) -> Aggregation:
    """The step weights of the policy-gradient term: StepShape -> [S] float64 on the CPU.

    Raises ConfigError when the loss node is not legal, e.g. a divisor that is not > 0, or a
    function of the user's own that is none.
    """
    check(config)
    match config:
        case SampleMeanLoss():
            return partial(sample_mean, empty_units=config.empty_units)
        case PromptMeanLoss():
            return partial(prompt_mean, empty_units=config.empty_units)
        case TokenMeanLoss():
            return token_mean
        case ConstantLoss():
            return partial(constant, divisor=config.divisor, empty_units=config.empty_units)
        case CustomLoss():
            return build_custom(config.function)
        case _:
            raise ConfigError(
                f"loss must be a SampleMeanLoss, PromptMeanLoss, TokenMeanLoss, ConstantLoss or "
                f"CustomLoss, got a {type(config).__name__}"
            )


def build_auxiliary_aggregation(config: LossConfig) -> Aggregation:
    """The step weights of the KL and entropy terms: StepShape -> [S] float64 on the CPU.

    auto: sample_mean, except under token_mean, where every term is a mean over tokens.
    Raises ConfigError when the loss node is not legal.
    """
    check(config)
    match config.auxiliary_aggregation:
        case AuxiliaryAggregation.auto if isinstance(config, TokenMeanLoss):
            return token_mean
        case AuxiliaryAggregation.auto | AuxiliaryAggregation.sample_mean:
            return partial(sample_mean, empty_units=config.empty_units)
        case AuxiliaryAggregation.prompt_mean:
            return partial(prompt_mean, empty_units=config.empty_units)
        case AuxiliaryAggregation.token_mean:
            return token_mean
        case AuxiliaryAggregation.same:
            return build_aggregation(config)


@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """The rollouts, or the prompts, that a step's samples belong to."""

    of_sample_S: Tensor
    active_tokens_U: Tensor

    @classmethod
    def counted(cls, ids_S: Tensor, step: StepShape) -> "_Units":
        ids_U, of_sample_S = torch.unique(ids_S, return_inverse=True)
        active_tokens_U = torch.zeros(len(ids_U), dtype=torch.int64)
        active_tokens_U.index_add_(0, of_sample_S, step.active_tokens.long())
        return cls(of_sample_S, active_tokens_U)

    def count(self, empty_units: EmptyUnits) -> int:
        match empty_units:
            case EmptyUnits.count:
                return len(self.active_tokens_U)
            case EmptyUnits.drop:
                return int((self.active_tokens_U > 0).sum())


def _unit_mean(step: StepShape, ids_S: Tensor, empty_units: EmptyUnits) -> Tensor:
    units = _Units.counted(ids_S, step)
    return _one_over(units.count(empty_units) * units.active_tokens_U[units.of_sample_S], step)


def _one_over(denominators_S: Tensor, step: StepShape) -> Tensor:
    # A denominator is 0 only where the sample has no active token, and there the weight is 0.
    return torch.where(step.active_tokens > 0, 1 / denominators_S.double(), 0.0)

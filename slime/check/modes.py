"""The aggregation modes a user may switch between, the rest of the loss as configured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from slime.check.plan_by_hand import Item, ItemWeight, item_weights
from slime.config.schema import (
    ConstantLoss,
    CustomLoss,
    LossConfig,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.config.schema.base import all_problems


@dataclass(frozen=True, slots=True)
class ModeWeights:
    """What one mode weighs in a step.  weights[i] belongs to the step's i-th item."""

    name: str
    weights: tuple[ItemWeight, ...]


def weigh(
    step: Sequence[Item], loss: LossConfig, max_response_tokens: int
) -> tuple[ModeWeights, ...]:
    """The configured mode first, then every other that is legal with the rest of the loss.

    max_response_tokens: the divisor of constant (Dr.GRPO's own) where loss.divisor says nothing.
    """
    return tuple(
        ModeWeights(mode_name(mode), tuple(item_weights(step, mode)))
        for mode in (loss, *_others(loss, max_response_tokens))
    )


def mode_name(loss: LossConfig) -> str:
    """As in loss/aggregation=..., with the divisor where there is one."""
    match loss:
        case ConstantLoss():
            return f"constant, L = {loss.divisor:g}"
        case CustomLoss():
            return f"custom, {loss.function}"
        case _:
            return loss.aggregation


def _others(loss: LossConfig, max_response_tokens: int) -> Iterator[LossConfig]:
    shared: dict[str, Any] = {
        f.name: getattr(loss, f.name) for f in fields(LossConfig) if f.name != "aggregation"
    }
    for other in (
        SampleMeanLoss(**shared),
        PromptMeanLoss(**shared),
        TokenMeanLoss(**shared),
        ConstantLoss(**shared, divisor=float(max_response_tokens)),
    ):
        if not isinstance(loss, type(other)) and not list(all_problems(other)):
            yield other

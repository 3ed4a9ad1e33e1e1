"""What of a model a layout has to divide, known before anything is loaded; standard library."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slime.config.schema import (
    ModelConfig,
    ParallelConfig,
    PathModel,
    SmolLM2Model,
    TinyModel,
    TinyMoeModel,
)
from slime.model.architecture import Architecture, read_architecture

# Of model=tiny, whose other sizes are in its config.
TINY_HEADS, TINY_KEY_VALUE_HEADS, TINY_FEED_FORWARD_FACTOR, TINY_VOCABULARY = 4, 2, 3, 104


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts that parallel.tensor, parallel.pipeline and parallel.expert must divide."""

    layers: int
    attention_heads: int
    key_value_heads: int
    feed_forward_size: int  # of every MLP, an expert's included: the greatest common divisor
    vocabulary_size: int
    experts: int = 0


_SMOLLM2_135M = Sizes(30, 9, 3, 1536, 49152)


def sizes_of(config: ModelConfig) -> Sizes:
    """Raises ConfigError for a folder whose config.json cannot be read."""
    match config:
        case TinyMoeModel():
            rows = tiny_expert_feed_forward(config.hidden_size)
            return _tiny(config.layers, rows, config.experts)
        case TinyModel():
            return _tiny(config.layers, TINY_FEED_FORWARD_FACTOR * config.hidden_size, 0)
        case SmolLM2Model():
            return _SMOLLM2_135M
        case PathModel():
            return sizes_of_architecture(read_architecture(Path(config.path).expanduser()))
    raise TypeError(f"no sizes for {type(config).__name__}")


def tiny_expert_feed_forward(hidden_size: int) -> int:
    """Of one expert of model=tiny_moe."""
    return hidden_size // 2


def _tiny(layers: int, feed_forward_size: int, experts: int) -> Sizes:
    return Sizes(
        layers=layers,
        attention_heads=TINY_HEADS,
        key_value_heads=TINY_KEY_VALUE_HEADS,
        feed_forward_size=feed_forward_size,
        vocabulary_size=TINY_VOCABULARY,
        experts=experts,
    )


def sizes_of_architecture(model: Architecture) -> Sizes:
    experts, rows = model.experts, [model.feed_forward_size]
    if experts is not None:
        rows = [experts.feed_forward_size] + (rows if experts.dense_layers else [])
    return Sizes(
        layers=model.layers,
        attention_heads=model.attention_heads,
        key_value_heads=model.key_value_heads,
        feed_forward_size=math.gcd(*rows),
        vocabulary_size=model.vocabulary_size,
        experts=0 if experts is None else experts.count,
    )


def problems_of_layout(sizes: Sizes, parallel: ParallelConfig) -> Iterator[str]:
    """One line for each way in which the layout does not divide the model."""
    shared = {
        "attention heads": sizes.attention_heads,
        "key-value heads": sizes.key_value_heads,
        "feed-forward rows": sizes.feed_forward_size,
        "tokens of the vocabulary": sizes.vocabulary_size,
    }
    odd = [f"{count} {what}" for what, count in shared.items() if count % parallel.tensor]
    if odd:
        fitting = _divisors(math.gcd(*shared.values()))
        yield (
            f"parallel.tensor={parallel.tensor} does not divide the model's {' and '.join(odd)}: "
            f"write parallel.tensor={fitting}"
        )
    if sizes.layers % parallel.pipeline:
        yield (
            f"parallel.pipeline={parallel.pipeline} does not divide the model's {sizes.layers} "
            f"layers: write parallel.pipeline={_divisors(sizes.layers)}"
        )
    yield from _problems_of_experts(sizes.experts, parallel)


def _problems_of_experts(experts: int, parallel: ParallelConfig) -> Iterator[str]:
    if not experts and parallel.expert > 1:
        yield (
            f"parallel.expert={parallel.expert} shares experts, and the model has none: write "
            f"parallel.expert=1"
        )
    if experts % parallel.expert:
        yield (
            f"parallel.expert={parallel.expert} does not divide the model's {experts} experts: "
            f"write parallel.expert={_divisors(experts)}"
        )
    if experts and parallel.tensor > 1 and not parallel.sequence:
        yield (
            f"parallel.tensor={parallel.tensor} with experts needs sequence parallelism: write "
            f"parallel.sequence=true"
        )


def _divisors(number: int) -> str:
    """1|2|4"""
    return "|".join(str(d) for d in range(1, number + 1) if number % d == 0)

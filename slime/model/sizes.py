"""What of a model a layout has to divide, known before anything is loaded; standard library."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slime.config.schema import ModelConfig, ParallelConfig, PathModel, SmolLM2Model, TinyModel
from slime.model.architecture import read_architecture

# Of model=tiny, whose other sizes are in its config.
TINY_HEADS, TINY_KEY_VALUE_HEADS, TINY_FEED_FORWARD_FACTOR, TINY_VOCABULARY = 4, 2, 3, 104


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts that parallel.tensor and parallel.pipeline must divide."""

    layers: int
    attention_heads: int
    key_value_heads: int
    feed_forward_size: int
    vocabulary_size: int


_SMOLLM2_135M = Sizes(30, 9, 3, 1536, 49152)


def sizes_of(config: ModelConfig) -> Sizes:
    """Raises ConfigError for a folder whose config.json cannot be read."""
    match config:
        case TinyModel():
            return Sizes(
                layers=config.layers,
                attention_heads=TINY_HEADS,
                key_value_heads=TINY_KEY_VALUE_HEADS,
                feed_forward_size=TINY_FEED_FORWARD_FACTOR * config.hidden_size,
                vocabulary_size=TINY_VOCABULARY,
            )
        case SmolLM2Model():
            return _SMOLLM2_135M
        case PathModel():
            read = read_architecture(Path(config.path).expanduser())
            return Sizes(
                layers=read.layers,
                attention_heads=read.attention_heads,
                key_value_heads=read.key_value_heads,
                feed_forward_size=read.feed_forward_size,
                vocabulary_size=read.vocabulary_size,
            )
    raise TypeError(f"no sizes for {type(config).__name__}")


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


def _divisors(number: int) -> str:
    """1|2|4"""
    return "|".join(str(d) for d in range(1, number + 1) if number % d == 0)

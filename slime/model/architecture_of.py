"""The architecture that a model choice stands for, before anything of it is written or loaded.

Standard library only.  tests/model/test_architecture_of.py holds it against the folders.
"""

from pathlib import Path

from slime.config.schema import ModelConfig, PathModel, SmolLM2Model, TinyModel, TinyMoeModel
from slime.model.architecture import Architecture, read_architecture
from slime.model.experts import Experts
from slime.model.sizes import (
    TINY_FEED_FORWARD_FACTOR,
    TINY_HEADS,
    TINY_KEY_VALUE_HEADS,
    TINY_VOCABULARY,
    tiny_expert_feed_forward,
)

_SMOLLM2_135M = Architecture(
    family="llama",
    layers=30,
    hidden_size=576,
    attention_heads=9,
    key_value_heads=3,
    head_size=64,
    feed_forward_size=1536,
    vocabulary_size=49152,
    max_positions=8192,
    rope_theta=100_000.0,
    norm_epsilon=9.999999747378752e-06,  # 1e-5, kept as float32
    tied_embeddings=True,
    qkv_bias=False,
    qk_norm=False,
)


def architecture_of(config: ModelConfig) -> Architecture:
    """Raises ConfigError for a folder whose config.json cannot be read."""
    match config:
        case TinyMoeModel():
            return _tiny(config, "qwen3_moe", _tiny_experts(config))
        case TinyModel():
            return _tiny(config, "llama", None)
        case SmolLM2Model():
            return _SMOLLM2_135M
        case PathModel():
            return read_architecture(Path(config.path).expanduser())
    raise TypeError(f"no architecture for {type(config).__name__}")


def _tiny(config: TinyModel, family: str, experts: Experts | None) -> Architecture:
    return Architecture(
        family=family,
        layers=config.layers,
        hidden_size=config.hidden_size,
        attention_heads=TINY_HEADS,
        key_value_heads=TINY_KEY_VALUE_HEADS,
        head_size=config.hidden_size // TINY_HEADS,
        feed_forward_size=TINY_FEED_FORWARD_FACTOR * config.hidden_size,
        vocabulary_size=TINY_VOCABULARY,
        max_positions=4096,
        rope_theta=10_000.0,
        norm_epsilon=1e-5,
        tied_embeddings=True,
        qkv_bias=False,
        qk_norm=experts is not None,
        experts=experts,
    )


def _tiny_experts(config: TinyMoeModel) -> Experts:
    return Experts(
        count=config.experts,
        per_token=config.experts_per_token,
        feed_forward_size=tiny_expert_feed_forward(config.hidden_size),
        normalised=True,
        dense_layers=(),
    )

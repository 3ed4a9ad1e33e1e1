"""model=tiny_moe: about a million random parameters, most of them in experts.

A Qwen3-MoE with the tokenizer of model=tiny, written without transformers.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from slime.config.schema import TinyMoeModel
from slime.model.architecture import Architecture
from slime.model.experts import Experts
from slime.model.shrink import config_json
from slime.model.sizes import (
    TINY_FEED_FORWARD_FACTOR,
    TINY_HEADS,
    TINY_KEY_VALUE_HEADS,
    tiny_expert_feed_forward,
)
from slime.model.tensors import tensor_shapes
from slime.model.tiny import (
    END_ID,
    MAX_POSITIONS,
    PAD_ID,
    VOCABULARY,
    WEIGHT_STD,
    write_json,
    write_tokenizer,
)


def write_tiny_moe_model(config: TinyMoeModel, folder: Path) -> None:
    """Fill `folder`; the same values give the same files."""
    architecture = _architecture(config)
    random = torch.Generator().manual_seed(config.seed)
    weights = {
        name: torch.ones(shape)
        if "norm" in name
        else torch.randn(shape, generator=random) * WEIGHT_STD
        for name, shape in tensor_shapes(architecture)
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    ends = {"eos_token_id": END_ID, "pad_token_id": PAD_ID}
    write_json(folder / "config.json", config_json(architecture) | ends)
    write_tokenizer(folder)


def _architecture(config: TinyMoeModel) -> Architecture:
    return Architecture(
        family="qwen3_moe",
        layers=config.layers,
        hidden_size=config.hidden_size,
        attention_heads=TINY_HEADS,
        key_value_heads=TINY_KEY_VALUE_HEADS,
        head_size=config.hidden_size // TINY_HEADS,
        feed_forward_size=TINY_FEED_FORWARD_FACTOR * config.hidden_size,
        vocabulary_size=len(VOCABULARY),
        max_positions=MAX_POSITIONS,
        rope_theta=10_000.0,
        norm_epsilon=1e-5,
        tied_embeddings=True,
        qkv_bias=False,
        qk_norm=True,
        experts=Experts(
            count=config.experts,
            per_token=config.experts_per_token,
            feed_forward_size=tiny_expert_feed_forward(config.hidden_size),
            normalised=True,
            dense_layers=(),
        ),
    )

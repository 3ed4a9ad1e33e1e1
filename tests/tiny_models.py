"""Hugging Face folders of tiny random models, written without transformers."""

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

VOCABULARY, HIDDEN, FEED_FORWARD, LAYERS, HEADS, KEY_VALUE_HEADS = 96, 48, 80, 2, 4, 2

_CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def write_tiny_model(folder: Path, family: str, *, seed: int = 0) -> Path:
    """qwen2 and qwen3 are tied; qwen3's heads are wider than hidden size / heads."""
    folder.mkdir(parents=True)
    config = {
        "architectures": [f"{_CLASSES[family]}ForCausalLM"],
        "model_type": family,
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": _head_size(family),
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": family != "llama",
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(tiny_weights(family, seed), folder / "model.safetensors")
    return folder


def tiny_weights(family: str, seed: int = 0) -> dict[str, Tensor]:
    """Large enough that every part of the model matters for its output."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in _shapes(family).items():
        noise = torch.randn(shape, generator=generator)
        weights[name] = 1 + 0.2 * noise if "norm" in name else 0.15 * noise
    return weights


def _head_size(family: str) -> int:
    return 16 if family == "qwen3" else HIDDEN // HEADS


def _shapes(family: str) -> dict[str, tuple[int, ...]]:
    queries, keys = HEADS * _head_size(family), KEY_VALUE_HEADS * _head_size(family)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    if family == "llama":
        shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (HIDDEN,)
        shapes[f"model.layers.{layer}.post_attention_layernorm.weight"] = (HIDDEN,)
        shapes[f"{mlp}.gate_proj.weight"] = (FEED_FORWARD, HIDDEN)
        shapes[f"{mlp}.up_proj.weight"] = (FEED_FORWARD, HIDDEN)
        shapes[f"{mlp}.down_proj.weight"] = (HIDDEN, FEED_FORWARD)
        shapes[f"{attention}.o_proj.weight"] = (HIDDEN, queries)
        for kind, rows in (("q", queries), ("k", keys), ("v", keys)):
            shapes[f"{attention}.{kind}_proj.weight"] = (rows, HIDDEN)
            if family == "qwen2":
                shapes[f"{attention}.{kind}_proj.bias"] = (rows,)
        if family == "qwen3":
            shapes[f"{attention}.q_norm.weight"] = (_head_size(family),)
            shapes[f"{attention}.k_norm.weight"] = (_head_size(family),)
    return shapes

"""Hugging Face folders of tiny random models, written without transformers."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

VOCABULARY, HIDDEN, FEED_FORWARD, LAYERS, HEADS, KEY_VALUE_HEADS = 96, 48, 80, 2, 4, 2
EXPERTS, CHOSEN, EXPERT_FEED_FORWARD = 4, 2, 24

_CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "qwen3_moe": "Qwen3Moe"}


def write_tiny_model(folder: Path, family: str, *, seed: int = 0, **changes: Any) -> Path:
    """qwen2 and qwen3 are tied; the heads of qwen3 and qwen3_moe are wider than hidden size / heads

    changes: of config.json; None takes a field out.
    """
    folder.mkdir(parents=True)
    config = _config(family, changes)
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(_weights(config, seed), folder / "model.safetensors")
    return folder


def tiny_weights(family: str, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    """Large enough that every part of the model matters for its output."""
    return _weights(_config(family, changes), seed)


def _config(family: str, changes: dict[str, Any]) -> dict[str, Any]:
    wide = family in ("qwen3", "qwen3_moe")
    config = {
        "architectures": [f"{_CLASSES[family]}ForCausalLM"],
        "model_type": family,
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": 16 if wide else HIDDEN // HEADS,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": family in ("qwen2", "qwen3"),
        "dtype": "float32",
    }
    if family == "qwen3_moe":
        config |= {
            "num_experts": EXPERTS,
            "num_experts_per_tok": CHOSEN,
            "moe_intermediate_size": EXPERT_FEED_FORWARD,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    return {name: value for name, value in (config | changes).items() if value is not None}


def _weights(config: dict[str, Any], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in _shapes(config).items():
        noise = torch.randn(shape, generator=generator)
        weights[name] = 1 + 0.2 * noise if "norm" in name else 0.15 * noise
    return weights


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    hidden, head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        attention = f"model.layers.{layer}.self_attn"
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"model.layers.{layer}.post_attention_layernorm.weight"] = (hidden,)
        shapes |= _mlp_shapes(config, layer)
        shapes[f"{attention}.o_proj.weight"] = (hidden, queries)
        for kind, rows in (("q", queries), ("k", keys), ("v", keys)):
            shapes[f"{attention}.{kind}_proj.weight"] = (rows, hidden)
            if config["model_type"] == "qwen2":
                shapes[f"{attention}.{kind}_proj.bias"] = (rows,)
        if config["model_type"] in ("qwen3", "qwen3_moe"):
            shapes[f"{attention}.q_norm.weight"] = (head,)
            shapes[f"{attention}.k_norm.weight"] = (head,)
    return shapes


def _mlp_shapes(config: dict[str, Any], layer: int) -> dict[str, tuple[int, ...]]:
    hidden, mlp = config["hidden_size"], f"model.layers.{layer}.mlp"
    if config["model_type"] != "qwen3_moe" or layer in config["mlp_only_layers"]:
        return _projections(mlp, hidden, config["intermediate_size"])
    shapes: dict[str, tuple[int, ...]] = {f"{mlp}.gate.weight": (config["num_experts"], hidden)}
    for expert in range(config["num_experts"]):
        shapes |= _projections(f"{mlp}.experts.{expert}", hidden, config["moe_intermediate_size"])
    return shapes


def _projections(name: str, hidden: int, rows: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.gate_proj.weight": (rows, hidden),
        f"{name}.up_proj.weight": (rows, hidden),
        f"{name}.down_proj.weight": (hidden, rows),
    }

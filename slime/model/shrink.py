"""A small random model of the same architecture: every part is there, only the sizes are small.

What an implementation can get wrong (grouped heads, biases, norms of queries and keys, tied
embeddings, heads that are not hidden size / heads wide, the rotary base) is kept.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from slime.config.schema import ParallelConfig
from slime.model.architecture import Architecture
from slime.model.experts import Experts
from slime.model.rope import rope_parameters
from slime.model.tensors import tensor_shapes

HEAD_SIZE = 16
LAYERS = 2  # of each pipeline stage
MOST_GROUPED = 4  # queries that share a key and a value
FEED_FORWARD = 96
VOCABULARY = 199
EXPERTS, PER_TOKEN, EXPERT_FEED_FORWARD = 4, 2, 32

_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}


def shrunken(original: Architecture, parallel: ParallelConfig) -> Architecture:
    """The same architecture in sizes that `parallel` can divide."""
    shares = parallel.tensor
    grouped = min(original.attention_heads // original.key_value_heads, MOST_GROUPED)
    key_value_heads = shares if shares > 1 else min(original.key_value_heads, 2)
    heads = key_value_heads * grouped
    as_wide = original.head_size * original.attention_heads == original.hidden_size
    return replace(
        original,
        layers=LAYERS * parallel.pipeline,
        hidden_size=heads * (HEAD_SIZE if as_wide else HEAD_SIZE // 2),
        attention_heads=heads,
        key_value_heads=key_value_heads,
        head_size=HEAD_SIZE,
        feed_forward_size=_multiple_of(shares, FEED_FORWARD),
        vocabulary_size=_multiple_of(shares, min(VOCABULARY, original.vocabulary_size)),
        experts=_fewer(original.experts, parallel),
    )


def _fewer(original: Experts | None, parallel: ParallelConfig) -> Experts | None:
    if original is None:
        return None
    return Experts(
        count=_multiple_of(parallel.expert, max(EXPERTS, parallel.expert)),
        per_token=min(original.per_token, PER_TOKEN),
        feed_forward_size=_multiple_of(parallel.tensor, EXPERT_FEED_FORWARD),
        normalised=original.normalised,
        dense_layers=(0,) if original.dense_layers else (),
    )


def write_random_model(architecture: Architecture, seed: int, folder: Path) -> None:
    """Fill `folder` with a Hugging Face model, without a tokenizer; equal seeds, equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    weights = {name: _draw(name, shape, random) for name, shape in tensor_shapes(architecture)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(config_json(architecture), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def _multiple_of(shares: int, size: int) -> int:
    return max(size // shares, 1) * shares


def _draw(name: str, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """So large that every part of the model has a say in its output, and no part drowns another."""
    noise = torch.randn(shape, generator=random)
    if "norm" in name:
        return 1 + 0.2 * noise
    if name.endswith("bias"):
        return 0.3 * noise
    return noise / math.sqrt(shape[-1])


def config_json(model: Architecture) -> dict[str, Any]:
    """What transformers reads the same architecture from."""
    values = {
        "architectures": [_CLASSES[model.family]],
        "model_type": model.family,
        "attention_bias": False,  # Qwen2's biases are part of its family
        "hidden_act": "silu",
        "hidden_size": model.hidden_size,
        "intermediate_size": model.feed_forward_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.attention_heads,
        "num_key_value_heads": model.key_value_heads,
        "head_dim": model.head_size,
        "vocab_size": model.vocabulary_size,
        "max_position_embeddings": model.max_positions,
        "rms_norm_eps": model.norm_epsilon,
        "rope_parameters": rope_parameters(model.rope_theta, model.rope_scaling),
        "tie_word_embeddings": model.tied_embeddings,
        "dtype": "float32",
    }
    if model.experts is not None:
        values |= {
            "num_experts": model.experts.count,
            "num_experts_per_tok": model.experts.per_token,
            "moe_intermediate_size": model.experts.feed_forward_size,
            "norm_topk_prob": model.experts.normalised,
            "decoder_sparse_step": 1,
            "mlp_only_layers": list(model.experts.dense_layers),
        }
    return values

"""A Llama model out of a GGUF file, as a Hugging Face folder in float32.

llama.cpp stores the rows of q and k in another order (rotary pairs next to each other); the rest is
a change of names.  transformers could do the reading too, but takes several times as long, and then
refuses to save what it read.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

_GLOBAL_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_gguf(path: Path, folder: Path, advance: Callable[[float], None]) -> None:
    """Write the tied-embedding Llama in `path` to `folder`: config, weights, tokenizer.

    advance(fraction) is called now and then with how much of the work is done.
    """
    reader = gguf.GGUFReader(path)
    advance(0.2)  # measured: indexing the file, weights, then the tokenizer
    config = _model_config(reader)
    weights = {}
    for done, (name, tensor) in enumerate(_tensors(reader, config), start=1):
        weights[name] = tensor
        advance(0.2 + 0.3 * done / len(reader.tensors))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    advance(0.6)
    _write_tokenizer(path, folder)
    advance(1.0)


def _model_config(reader: gguf.GGUFReader) -> dict[str, Any]:
    def value(name: str) -> Any:
        return reader.fields[name].contents()

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": value("llama.attention.head_count"),
        "num_key_value_heads": value("llama.attention.head_count_kv"),
        "head_dim": value("llama.rope.dimension_count"),
        "vocab_size": value("llama.vocab_size"),
        "max_position_embeddings": value("llama.context_length"),
        "rms_norm_eps": value("llama.attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": value("llama.rope.freq_base")},
        "tie_word_embeddings": True,
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": value("tokenizer.ggml.padding_token_id"),
        "dtype": "float32",
    }


def _tensors(reader: gguf.GGUFReader, config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for stored in reader.tensors:
        values = gguf.dequantize(stored.data, stored.tensor_type)
        if stored.name.endswith("attn_q.weight"):
            values = _halves_apart(values, config["num_attention_heads"])
        if stored.name.endswith("attn_k.weight"):
            values = _halves_apart(values, config["num_key_value_heads"])
        yield _hugging_face_name(stored.name), torch.from_numpy(values.copy())


def _halves_apart(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Per head, rows 0 1 2 3 ... (rotary pairs) to 0 2 ... 1 3 ... (halves), as transformers."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _hugging_face_name(name: str) -> str:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_LAYER_NAMES[parts[2]]}.{parts[3]}"
    return f"{_GLOBAL_NAMES[parts[0]]}.{parts[1]}"


def _write_tokenizer(path: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.save_pretrained(folder)

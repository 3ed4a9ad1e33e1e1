"""model=tiny: about a million random parameters and a tokenizer of single characters.

Written without transformers, in the format that transformers reads, in a fraction of a second.
"""

import json
import string
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from slime.config.schema import TinyModel
from slime.model.sizes import TINY_FEED_FORWARD_FACTOR as FEED_FORWARD_FACTOR
from slime.model.sizes import TINY_HEADS as HEADS
from slime.model.sizes import TINY_KEY_VALUE_HEADS as KEY_VALUE_HEADS

MAX_POSITIONS = 4096
WEIGHT_STD = 0.02

END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
END_ID, PAD_ID = 0, 1
SPECIAL_TOKENS = (END, PAD, UNKNOWN, "<|system|>", "<|user|>", "<|assistant|>")
# The vocabulary holds nothing that is never used: half of what a random model says would be it.
CHARACTERS = "\t\n\r" + "".join(
    sorted(string.ascii_letters + string.digits + string.punctuation + " ")
)
VOCABULARY = (*SPECIAL_TOKENS, *CHARACTERS)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{{ '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def write_tiny_model(config: TinyModel, folder: Path) -> None:
    """Fill `folder` with a Llama of random weights; the same values give the same files."""
    save_file(_weights(config), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", _model_config(config))
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """The tokenizer of single characters, and what ends an answer."""
    ends = {"eos_token_id": END_ID, "pad_token_id": PAD_ID}
    write_json(folder / "generation_config.json", ends)
    _tokenizer().save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "unk_token": UNKNOWN,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _model_config(config: TinyModel) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": FEED_FORWARD_FACTOR * config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": config.hidden_size // HEADS,
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
        "eos_token_id": END_ID,
        "pad_token_id": PAD_ID,
        "dtype": "float32",
    }


def _weights(config: TinyModel) -> dict[str, Tensor]:
    width, head = config.hidden_size, config.hidden_size // HEADS
    feed_forward = FEED_FORWARD_FACTOR * width
    matrices = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (KEY_VALUE_HEADS * head, width),
        "self_attn.v_proj": (KEY_VALUE_HEADS * head, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (feed_forward, width),
        "mlp.up_proj": (feed_forward, width),
        "mlp.down_proj": (width, feed_forward),
    }
    random = torch.Generator().manual_seed(config.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random) * WEIGHT_STD

    weights = {"model.embed_tokens.weight": normal(len(VOCABULARY), width)}
    for layer in range(config.layers):
        prefix = f"model.layers.{layer}"
        for name, shape in matrices.items():
            weights[f"{prefix}.{name}.weight"] = normal(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}.{name}.weight"] = torch.ones(width)
    weights["model.norm.weight"] = torch.ones(width)
    return weights


def _tokenizer() -> Tokenizer:
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer

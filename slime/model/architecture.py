"""What slime needs to know of a model, read from a Hugging Face folder's config.json.

Standard library only: the train worker, the config check and the conversion all read the same
values, and none of them has to import transformers for it.  A property of the model that the
trainer does not implement is an error here, never an approximation there.  Code that a folder
brings along (auto_map) is never run.
"""

from dataclasses import dataclass
from pathlib import Path

from slime.model.config_json import ConfigJson
from slime.model.experts import Experts, read_experts
from slime.model.rope import RopeScaling, read_rope
from slime.model.sliding import refuse_sliding_windows

FAMILIES = ("llama", "qwen2", "qwen3", "qwen3_moe")
_MOST_LABELS = 10_000  # transformers makes a name for each, for a language model too
_QK_NORM = ("qwen3", "qwen3_moe")
# transformers follows these, so the engine would have another model than the trainer.
_ONLY_TRANSFORMERS = {
    "transformers_weights": "names other files of weights than model.safetensors and its index",
    "per_layer_config": "gives layers settings of their own",
}

_MOST_LAYERS, _MOST_HEADS = 10_000, 100_000  # they are counted up to


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder with rotary positions, RMSNorm, grouped-query attention and SwiGLU."""

    family: str  # one of FAMILIES
    layers: int
    hidden_size: int
    attention_heads: int
    key_value_heads: int
    head_size: int
    feed_forward_size: int  # of layers without experts
    vocabulary_size: int
    max_positions: int
    rope_theta: float
    norm_epsilon: float
    tied_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    rope_scaling: RopeScaling | None = None
    experts: Experts | None = None


def read_architecture(folder: Path) -> Architecture:
    """The architecture of the model in `folder`.

    Raises ConfigError, one line naming the folder and the field, when config.json is missing or
    not JSON, belongs to another architecture, lacks a field, or asks for what is not implemented.
    """
    config = ConfigJson(folder)
    family = _family(config)
    _refuse_what_names_code(config)
    _refuse_what_transformers_alone_reads(config)
    _refuse_what_is_not_implemented(config, family)
    heads = config.count("num_attention_heads", most=_MOST_HEADS)
    hidden_size = config.count("hidden_size")
    layers = config.count("num_hidden_layers", most=_MOST_LAYERS)
    refuse_sliding_windows(config, family, layers)
    key_value_heads = config.count("num_key_value_heads", heads if family == "llama" else None)
    # transformers gives Qwen3 heads of 128 whatever the width, so there it must be written down;
    # null it takes for Llama only.
    must_be_written = family == "qwen3" or (family != "llama" and "head_dim" in config.values)
    head_size = config.count("head_dim", None if must_be_written else hidden_size // heads)
    if family == "llama" and hidden_size % heads:
        raise config.error(
            f"hidden_size={hidden_size} is not a multiple of num_attention_heads={heads}"
        )
    if heads % key_value_heads:
        raise config.error(
            f"num_attention_heads={heads} is not a multiple of num_key_value_heads="
            f"{key_value_heads}"
        )
    if head_size % 2:
        raise config.error(f"head_dim={head_size} is odd; rotary positions need an even number")
    max_positions = config.count("max_position_embeddings")
    rope_theta, rope_scaling = read_rope(config, max_positions)
    return Architecture(
        family=family,
        layers=layers,
        hidden_size=hidden_size,
        attention_heads=heads,
        key_value_heads=key_value_heads,
        head_size=head_size,
        feed_forward_size=config.count("intermediate_size"),
        vocabulary_size=config.count("vocab_size"),
        max_positions=max_positions,
        rope_theta=rope_theta,
        norm_epsilon=config.number("rms_norm_eps"),
        tied_embeddings=config.flag("tie_word_embeddings"),
        qkv_bias=family == "qwen2",
        qk_norm=family in _QK_NORM,
        rope_scaling=rope_scaling,
        experts=read_experts(config, layers) if family == "qwen3_moe" else None,
    )


def _family(config: ConfigJson) -> str:
    family = config.values.get("model_type")
    if family not in FAMILIES:
        raise config.error(
            f"model_type is {family!r:.60}, which is not supported; supported are "
            f"{', '.join(FAMILIES)}"
        )
    classes = config.names("architectures")
    if classes and not any(name.endswith("ForCausalLM") for name in classes):
        raise config.error(
            f"architectures is {classes[0]!r:.60}; only language models (ForCausalLM) are supported"
        )
    return str(family)


def _refuse_what_names_code(config: ConfigJson) -> None:
    """transformers would download attention under the name of a repository, and run it."""
    for field, value in config.values.items():
        names = field.endswith(("_implementation", "_implementation_internal"))
        if names and value not in (None, "sdpa", "eager"):
            shown = field if field.isprintable() else repr(field)
            raise config.error(f"{shown:.60} is {value!r:.60}, which can name code to run: drop it")


def _refuse_what_transformers_alone_reads(config: ConfigJson) -> None:
    """The engine and the trainer would not have the same model, or the engine none for long."""
    for field in ("transformers_weights", "configuration_files", "per_layer_config"):
        if (value := config.values.get(field)) is not None:
            raise config.error(f"{field} is {value!r:.60}, which only transformers reads: drop it")
    labels, names = config.values.get("num_labels"), config.values.get("id2label")
    many = isinstance(names, dict) and len(names) > _MOST_LABELS
    if many or (labels is not None and not _is_count(labels, _MOST_LABELS)):
        raise config.error(
            f"num_labels or id2label is for more than {_MOST_LABELS} labels: drop it"
        )


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _refuse_what_is_not_implemented(config: ConfigJson, family: str) -> None:
    if config.flag("mlp_bias"):
        raise config.error("mlp_bias=true is not supported")
    # Qwen2's bias on q, k and v is part of its architecture; its files do not mention it.
    if family != "qwen2" and config.flag("attention_bias"):
        raise config.error(
            f"attention_bias=true is not supported for {family}: it puts a bias on the output "
            f"projection too"
        )
    for field, what in _ONLY_TRANSFORMERS.items():
        value = config.values.get(field)
        if value is not None:
            raise config.error(f"{field} is {value!r:.60}: it {what}, which is not supported")
    activation = config.values.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise config.error(f"hidden_act is {activation!r:.60}; only 'silu' is supported")
    if config.values.get("quantization_config") is not None:
        raise config.error(
            "quantization_config is set: quantised weights cannot be trained; use the "
            "unquantised model"
        )

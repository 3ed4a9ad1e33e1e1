"""What slime needs to know of a model, read from a Hugging Face folder's config.json.

Standard library only: the train worker, the config check and the conversion all read the same
values, and none of them has to import transformers for it.  A property of the model that the
trainer does not implement is an error here, never an approximation there.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slime.config.schema import ConfigError
from slime.reading import read_json

FAMILIES = ("llama", "qwen2", "qwen3")

# What transformers assumes when the rotary base is not written down.
_DEFAULT_ROPE_THETA = 10_000.0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A dense decoder with rotary positions, RMSNorm, grouped-query attention and SwiGLU."""

    family: str  # one of FAMILIES
    layers: int
    hidden_size: int
    attention_heads: int
    key_value_heads: int
    head_size: int
    feed_forward_size: int
    vocabulary_size: int
    max_positions: int
    rope_theta: float
    norm_epsilon: float
    tied_embeddings: bool
    qkv_bias: bool
    qk_norm: bool


def read_architecture(folder: Path) -> Architecture:
    """The architecture of the model in `folder`.

    Raises ConfigError, one line naming the folder and the field, when config.json is missing or
    not JSON, belongs to another architecture, lacks a field, or asks for what is not implemented.
    """
    config = _ConfigJson(folder)
    family = config.family()
    config.refuse_what_names_code()
    config.refuse_what_is_not_implemented(family)
    heads = config.count("num_attention_heads")
    hidden_size = config.count("hidden_size")
    key_value_heads = config.count("num_key_value_heads", heads if family == "llama" else None)
    # transformers gives Qwen3 heads of 128 whatever the width, so there it must be written down.
    head_size = config.count("head_dim", None if family == "qwen3" else hidden_size // heads)
    if heads % key_value_heads:
        raise config.error(
            f"num_attention_heads={heads} is not a multiple of num_key_value_heads="
            f"{key_value_heads}"
        )
    if head_size % 2:
        raise config.error(f"head_dim={head_size} is odd; rotary positions need an even number")
    return Architecture(
        family=family,
        layers=config.count("num_hidden_layers"),
        hidden_size=hidden_size,
        attention_heads=heads,
        key_value_heads=key_value_heads,
        head_size=head_size,
        feed_forward_size=config.count("intermediate_size"),
        vocabulary_size=config.count("vocab_size"),
        max_positions=config.count("max_position_embeddings"),
        rope_theta=config.rope_theta(),
        norm_epsilon=config.number("rms_norm_eps"),
        tied_embeddings=config.flag("tie_word_embeddings"),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
    )


class _ConfigJson:
    """config.json of one folder, read field by field with errors that name both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "config.json"
        if not folder.is_dir():
            raise ConfigError(f"model.path: {folder} is not a folder")
        if not path.is_file():
            raise ConfigError(
                f"model.path: {folder} has no config.json; give a Hugging Face model folder"
            )
        try:
            values = read_json(path)
        except (OSError, ValueError) as broken:
            reason = str(broken).splitlines()[0]
            raise ConfigError(f"model.path: {path} is not readable JSON: {reason}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"model.path: {path} must hold a JSON object")
        self.values: dict[str, Any] = values

    def error(self, what: str) -> ConfigError:
        return ConfigError(f"model.path: {self.folder}/config.json: {what}")

    def family(self) -> str:
        family = self.values.get("model_type")
        if family not in FAMILIES:
            raise self.error(
                f"model_type is {family!r}, which is not supported; "
                f"supported are {', '.join(FAMILIES)}"
            )
        classes = self.values.get("architectures") or []
        if classes and not any(str(name).endswith("ForCausalLM") for name in classes):
            raise self.error(
                f"architectures is {classes[0]}; only language models (ForCausalLM) are supported"
            )
        return str(family)

    def count(self, field: str, default: int | None = None) -> int:
        value = self.values.get(field)
        if value is None:
            value = default
        if value is None:
            raise self.error(f"{field} is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(f"{field} must be an integer >= 1, got {value!r}")
        return value

    def number(self, field: str) -> float:
        value = self.values.get(field)
        if value is None:
            raise self.error(f"{field} is missing")
        return self.positive(field, value)

    def positive(self, field: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(f"{field} must be a number, got {value!r}")
        if not (math.isfinite(value) and value > 0):
            raise self.error(f"{field} must be a finite number > 0, got {value!r}")
        return float(value)

    def flag(self, field: str) -> bool:
        """False when absent, as in all three families."""
        value = self.values.get(field) or False
        if not isinstance(value, bool):
            raise self.error(f"{field} must be true or false, got {value!r}")
        return value

    def rope_theta(self) -> float:
        """transformers 5 writes rope_parameters; older files rope_theta and rope_scaling."""
        rope = self.values.get("rope_scaling") or self.values.get("rope_parameters") or {}
        if not isinstance(rope, dict):
            raise self.error(f"rope_parameters must be an object, got {rope!r}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise self.error(
                f"rope_type is {kind!r}; rope scaling is not supported, only 'default'"
            )
        for scope in (rope, self.values):
            if scope.get("partial_rotary_factor", 1.0) not in (None, 1):
                raise self.error("partial_rotary_factor is not supported, only 1.0")
        theta = rope.get("rope_theta", self.values.get("rope_theta"))
        return self.positive("rope_theta", _DEFAULT_ROPE_THETA if theta is None else theta)

    def refuse_what_names_code(self) -> None:
        """transformers would download attention under the name of a repository, and run it."""
        for field, value in self.values.items():
            names = field.endswith(("_implementation", "_implementation_internal"))
            if names and value not in (None, "sdpa", "eager"):
                raise self.error(f"{field} is {value!r:.60}, which can name code to run: drop it")

    def refuse_what_is_not_implemented(self, family: str) -> None:
        if self.flag("mlp_bias"):
            raise self.error("mlp_bias=true is not supported")
        # Qwen2's bias on q, k and v is part of its architecture; its files do not mention it.
        if family != "qwen2" and self.flag("attention_bias"):
            raise self.error(f"attention_bias=true is not supported for {family}")
        if self._slides(family):
            raise self.error("sliding-window attention is in use, which is not supported")
        activation = self.values.get("hidden_act", "silu")
        if activation not in ("silu", "swish"):
            raise self.error(f"hidden_act is {activation!r}; only 'silu' is supported")
        if self.values.get("quantization_config") is not None:
            raise self.error(
                "quantization_config is set: quantised weights cannot be trained; use the "
                "unquantised model"
            )

    def _slides(self, family: str) -> bool:
        """Qwen files carry a window size that counts only when use_sliding_window says so."""
        kinds = self.values.get("layer_types") or []
        if any(kind != "full_attention" for kind in kinds):
            return True
        return family != "llama" and self.flag("use_sliding_window")

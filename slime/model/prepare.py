"""model=... as a Hugging Face folder on this machine, made once and cached."""

import hashlib
from functools import partial
from pathlib import Path

from slime.config.schema import (
    ConfigError,
    ModelConfig,
    PathModel,
    SmolLM2Model,
    TinyModel,
    TinyMoeModel,
)
from slime.model.cache import cached_folder
from slime.model.check import problems

# Part of every cache key: raise it when what a preparation writes changes.
_VERSION = 1


def prepare_model(config: ModelConfig) -> Path:
    """The folder with the starting model: config.json, safetensors, tokenizer.json.

    Raises ConfigError when the model cannot be had: a folder that does not fit, no network for the
    download, no room in the cache.
    """
    match config:
        case TinyMoeModel():
            from slime.model.tiny_moe import write_tiny_moe_model

            build = partial(write_tiny_moe_model, config)
            return cached_folder(f"tiny_moe-{_key_of(config)}", build)
        case TinyModel():
            from slime.model.tiny import write_tiny_model

            return cached_folder(f"tiny-{_key_of(config)}", partial(write_tiny_model, config))
        case SmolLM2Model():
            from slime.model.smollm2 import GGUF_SHA256, write_smollm2

            return cached_folder(f"smollm2_135m-{GGUF_SHA256[:12]}-v{_VERSION}", write_smollm2)
        case PathModel(path=path):
            found = list(problems(config))
            if found:
                raise ConfigError("\n".join(found))
            return Path(path).expanduser().resolve()
    raise TypeError(f"no model for {type(config).__name__}")


def _key_of(config: TinyModel) -> str:
    values = f"v{_VERSION} {config.hidden_size} {config.layers} {config.seed}"
    if isinstance(config, TinyMoeModel):
        values += f" {config.experts} {config.experts_per_token}"
    return hashlib.sha256(values.encode()).hexdigest()[:12]

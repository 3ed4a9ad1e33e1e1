"""The trained model as a Hugging Face folder: the starting folder's settings, the new weights."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

# Settings, tokenizer and chat template; weights of any format and other files stay behind.
_KEPT = ("*.json", "*.txt", "*.model", "*.jinja")
_INDEX = ".index.json"  # which shard holds which tensor: of the old weights
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def write_model_folder(source: Path, target: Path, shards: Sequence[bytes]) -> None:
    """Write `target`: the settings of `source`, and the weights in `shards`.

    shards: safetensors files under Hugging Face names, in memory; empty ones are left out.  Written
    aside and renamed, so a folder of that name is always whole.
    """
    [weights] = [shard for shard in shards if shard]
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for pattern in _KEPT:
        for file in source.glob(pattern):
            if not file.name.endswith(_INDEX):
                shutil.copyfile(file, aside / file.name)  # not its mode: it may be read-only
    _write_dtype(aside / "config.json", _dtype_of(weights))
    (aside / "model.safetensors").write_bytes(weights)
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)


def _dtype_of(weights: bytes) -> str:
    """Of the first tensor in a safetensors file: its header is JSON behind an 8-byte length."""
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    first = next(entry for name, entry in header.items() if name != "__metadata__")
    return _DTYPES[first["dtype"]]


def _write_dtype(config_json: Path, dtype: str) -> None:
    """transformers loads weights in the dtype that config.json names, whatever theirs is."""
    config = json.loads(config_json.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)  # the name before transformers 5
    config["dtype"] = dtype
    config_json.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

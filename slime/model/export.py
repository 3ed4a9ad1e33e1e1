"""The trained model as a Hugging Face folder: the starting folder's settings, the new weights."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Settings, tokenizer and chat template; weights of any format and other files stay behind.
_KEPT = ("*.json", "*.txt", "*.model", "*.jinja")
_INDEX = ".index.json"  # which shard holds which tensor: of the old weights
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def write_model_folder(source: Path, target: Path, shards: Sequence[bytes]) -> None:
    """Write `target`: the settings of `source`, and the weights in `shards`.

    shards: safetensors files under Hugging Face names, in memory; empty ones are left out.  Written
    aside and renamed, so a folder of that name is always whole.
    """
    files = _files([shard for shard in shards if shard])
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for pattern in _KEPT:
        for file in source.glob(pattern):
            if not file.name.endswith(_INDEX):
                shutil.copyfile(file, aside / file.name)  # not its mode: it may be read-only
    _write_dtype(aside / "config.json", _dtype_of(next(iter(files.values()))))
    for name, weights in files.items():
        (aside / name).write_bytes(weights)
    if len(files) > 1:
        _write_index(aside / f"model.safetensors{_INDEX}", files)
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)


def _files(shards: Sequence[bytes]) -> dict[str, bytes]:
    """The shards under the names that transformers gives to one file, or to several."""
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    of = f"of-{len(shards):05d}"
    return {f"model-{n:05d}-{of}.safetensors": shard for n, shard in enumerate(shards, start=1)}


def _write_index(path: Path, files: dict[str, bytes]) -> None:
    weight_map = {tensor: name for name, weights in files.items() for tensor in _tensors(weights)}
    size = sum(
        end - start
        for weights in files.values()
        for start, end in (entry["data_offsets"] for entry in _tensors(weights).values())
    )
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tensors(weights: bytes) -> dict[str, Any]:
    """What a safetensors file says of its tensors: its header is JSON behind an 8-byte length."""
    header: dict[str, Any] = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    header.pop("__metadata__", None)
    return header


def _dtype_of(weights: bytes) -> str:
    first = next(iter(_tensors(weights).values()))
    return _DTYPES[first["dtype"]]


def _write_dtype(config_json: Path, dtype: str) -> None:
    """transformers loads weights in the dtype that config.json names, whatever theirs is."""
    config = json.loads(config_json.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)  # the name before transformers 5
    config["dtype"] = dtype
    config_json.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

"""The trained model as a Hugging Face folder: the starting folder's settings, the new weights."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Settings, tokenizer and chat template; weights of any format and other files stay behind.
_KEPT = ("*.json", "*.txt", "*.model", "*.jinja")
_INDEX = ".index.json"  # which shard holds which tensor: of the old weights
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}

# Writes safetensors files under Hugging Face names of tensors into a folder, in their order.
WriteShards = Callable[[Path], None]


def write_model_folder(source: Path, target: Path, write_shards: WriteShards) -> None:
    """Write `target`: the settings of `source`, and the weights that `write_shards` writes.

    Written aside and renamed, so a folder of that name is always whole.
    """
    for left in target.parent.glob(f".{target.name}.*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    aside.mkdir()
    try:
        write_shards(aside)
        _name_shards(aside)
        for pattern in _KEPT:
            for file in source.glob(pattern):
                if not file.name.endswith(_INDEX):
                    shutil.copyfile(file, aside / file.name)  # not its mode: it may be read-only
        _write_dtype(aside / "config.json", _dtype_of(next(aside.glob("*.safetensors"))))
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _name_shards(folder: Path) -> None:
    """Give them the names that transformers gives to one file, or to several and their index."""
    shards = sorted(folder.glob("*.safetensors"))
    if len(shards) == 1:
        shards[0].rename(folder / "model.safetensors")
        return
    of = f"of-{len(shards):05d}"
    named = [
        shard.rename(folder / f"model-{number:05d}-{of}.safetensors")
        for number, shard in enumerate(shards, start=1)
    ]
    _write_index(folder / f"model.safetensors{_INDEX}", named)


def _write_index(path: Path, shards: Sequence[Path]) -> None:
    tensors = {shard.name: _tensors(shard) for shard in shards}
    weight_map = {tensor: name for name, found in tensors.items() for tensor in found}
    size = sum(
        end - start
        for found in tensors.values()
        for start, end in (entry["data_offsets"] for entry in found.values())
    )
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tensors(shard: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors: its header is JSON behind an 8-byte length."""
    with shard.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def _dtype_of(shard: Path) -> str:
    first = next(iter(_tensors(shard).values()))
    return _DTYPES[first["dtype"]]


def _write_dtype(config_json: Path, dtype: str) -> None:
    """transformers loads weights in the dtype that config.json names, whatever theirs is."""
    config = json.loads(config_json.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)  # the name before transformers 5
    config["dtype"] = dtype
    config_json.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

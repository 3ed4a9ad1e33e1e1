"""The trained model as a Hugging Face folder: the starting folder's files, the new weights."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

_OF_THE_OLD_WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.gguf",
)


def write_model_folder(source: Path, target: Path, shards: Sequence[bytes]) -> None:
    """Write `target`: everything beside the weights from `source`, the weights from `shards`.

    shards: safetensors files under Hugging Face names, in memory; empty ones are left out.  Written
    aside and renamed, so a folder of that name is always whole.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside, ignore=shutil.ignore_patterns(*_OF_THE_OLD_WEIGHTS, ".*"))
    _write_weights(aside, [shard for shard in shards if shard])
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)


def _write_weights(folder: Path, shards: Sequence[bytes]) -> None:
    if len(shards) != 1:
        raise ValueError(f"expected the weights in one shard, got {len(shards)}")
    (folder / "model.safetensors").write_bytes(shards[0])

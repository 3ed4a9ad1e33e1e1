"""What can be known about the weights in a folder without reading them."""

import re
from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ConfigError
from slime.model.index import INDEX, weight_files
from slime.model.pickled import command, pickled_weights

_SHARD_OF_TRANSFORMERS = re.compile(r"shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors")
_GIT_LFS_POINTER = b"version https://git-lfs"


def weight_problems(folder: Path) -> Iterator[str]:
    """One line for each thing that is wrong."""
    present = sorted(folder.glob("*.safetensors"))
    if not present:
        yield _no_safetensors(folder)
        return
    found = [problem for path in present for problem in _file_problems(path)]
    yield from found or _missing_files(folder)


def _file_problems(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield f"model.path: {path} is not a file (a folder, a pipe or a link to nothing)"
        return
    try:
        with path.open("rb") as file:
            start = file.read(len(_GIT_LFS_POINTER))
    except OSError as unreadable:
        yield f"model.path: {path} cannot be read: {unreadable.strerror}"
        return
    if start == _GIT_LFS_POINTER:
        yield f"model.path: {path} is a git-lfs pointer; run git lfs pull in {path.parent}"
    if _SHARD_OF_TRANSFORMERS.fullmatch(path.name):
        yield (
            f"model.path: {path} is a shard that only transformers reads; save the model with "
            "model.save_pretrained(folder)"
        )


def _no_safetensors(folder: Path) -> str:
    none = f"model.path: {folder} has no *.safetensors file"
    try:
        pickled = pickled_weights(folder)
    except ConfigError as unclear:
        return f"{none}, and of its pickles, {unclear}"
    if not pickled:
        return f"{none}; save the model with model.save_pretrained(folder)"
    return (
        f"{none}, only {pickled[0].name}, a pickle, which can run code when it is read; convert it "
        f"with {command(folder)}"
    )


def _missing_files(folder: Path) -> Iterator[str]:
    try:
        named = weight_files(folder)
    except ConfigError as unclear:
        yield str(unclear)
        return
    missing = [name for name in named if not (folder / name).is_file()]
    if missing:
        yield (
            f"model.path: {folder} lacks {missing[0]}, which {INDEX} names "
            f"({len(missing)} of {len(named)} files missing); download the model again"
        )

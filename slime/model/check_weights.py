"""What can be known about the weights in a folder without reading them."""

from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ConfigError
from slime.model.index import INDEX, weight_files
from slime.model.pickled import command, pickled_weights

_GIT_LFS_POINTER = b"version https://git-lfs"


def weight_problems(folder: Path) -> Iterator[str]:
    """One line for each thing that is wrong."""
    present = sorted(folder.glob("*.safetensors"))
    if not present:
        yield _no_safetensors(folder)
        return
    for path in present:
        try:
            with path.open("rb") as file:
                is_pointer = file.read(len(_GIT_LFS_POINTER)) == _GIT_LFS_POINTER
        except OSError as broken:  # a link into a cache that is gone, for one
            yield f"model.path: {path} cannot be read: {broken.strerror}"
            return
        if is_pointer:
            yield f"model.path: {path} is a git-lfs pointer; run git lfs pull in {folder}"
    yield from _missing_files(folder)


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

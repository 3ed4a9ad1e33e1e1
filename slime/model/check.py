"""What can be known about model=... before anything heavy is imported."""

import re
from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ConfigError, ModelConfig, ParallelConfig, PathModel
from slime.model.architecture import read_architecture
from slime.model.index import is_weights_file
from slime.model.sizes import problems_of_layout, sizes_of
from slime.model.unpickle import command, pickled_weights
from slime.reading import read_json

_SHARD_OF_TRANSFORMERS = re.compile(r"shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors")
_GIT_LFS_POINTER = b"version https://git-lfs"


def problems(config: ModelConfig) -> Iterator[str]:
    """One line for each thing that is wrong with the model folder the user named."""
    if isinstance(config, PathModel):
        folder = Path(config.path).expanduser()
        yield from _folder_problems(folder)
        yield from _another_family(config, folder)


def layout_problems(config: ModelConfig, parallel: ParallelConfig) -> Iterator[str]:
    """One line for each way in which the layout does not divide the model."""
    try:
        sizes = sizes_of(config)
    except ConfigError:
        return  # problems() tells about a folder that cannot be read
    yield from problems_of_layout(sizes, parallel)


# Of the presets that are read from a local folder.
_FAMILIES = {
    "qwen2_5_0_5b": "qwen2",
    "qwen3_0_6b": "qwen3",
    "qwen3_4b": "qwen3",
    "qwen3_30b_a3b": "qwen3_moe",
}


def _another_family(config: PathModel, folder: Path) -> Iterator[str]:
    wanted = _FAMILIES.get(config.name)
    try:
        found = read_architecture(folder).family
    except ConfigError:
        return  # told already
    if wanted not in (None, found):
        yield (
            f"model.path: {folder} holds a {found} model, and model={config.name} is a {wanted}: "
            f"write model=path, or give the folder of that model"
        )


def _folder_problems(folder: Path) -> Iterator[str]:
    try:
        read_architecture(folder)
    except ConfigError as unfit:
        yield str(unfit)
        if not folder.is_dir():
            return
    yield from _weight_problems(folder)
    if (folder / "adapter_config.json").exists():
        yield (
            f"model.path: {folder} has an adapter_config.json, which stands for another model: "
            "merge the adapter with merge_and_unload() and save that"
        )
    if not (folder / "tokenizer.json").is_file():
        yield (
            f"model.path: {folder} has no tokenizer.json; write it with transformers: "
            f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )


def _weight_problems(folder: Path) -> Iterator[str]:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        yield _no_safetensors(folder)
        return
    for path in weights:
        yield from _file_problems(path)
    yield from _missing_shards(folder)


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
    pickled = pickled_weights(folder)
    if not pickled:
        return (
            f"model.path: {folder} has no *.safetensors file; save the model with "
            f"model.save_pretrained(folder)"
        )
    return (
        f"model.path: {folder} has no *.safetensors file, only {pickled[0].name}, a pickle, which "
        f"can run code when it is read; convert it with {command(folder)}"
    )


def _missing_shards(folder: Path) -> Iterator[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        named = set(read_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield f"model.path: {index} is not a readable index of weights; download the model again"
        return
    strange = [name for name in named if not is_weights_file(name)]
    if strange:
        yield (
            f"model.path: {index} names {strange[0]!r}, which is no *.safetensors file of this "
            "folder; download the model again"
        )
        return
    missing = sorted(name for name in named if not (folder / name).is_file())
    if missing:
        yield (
            f"model.path: {folder} lacks {missing[0]}, which {index.name} names "
            f"({len(missing)} of {len(named)} files missing); download the model again"
        )

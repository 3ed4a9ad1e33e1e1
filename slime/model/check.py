"""What can be known about model=... before anything heavy is imported."""

from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ConfigError, ModelConfig, ParallelConfig, PathModel
from slime.model.architecture import read_architecture
from slime.model.index import is_weights_file
from slime.model.sizes import problems_of_layout, sizes_of
from slime.reading import read_json

_GIT_LFS_POINTER = b"version https://git-lfs"


def problems(config: ModelConfig) -> Iterator[str]:
    """One line for each thing that is wrong with the model folder the user named."""
    if isinstance(config, PathModel):
        yield from _folder_problems(Path(config.path).expanduser())


def layout_problems(config: ModelConfig, parallel: ParallelConfig) -> Iterator[str]:
    """One line for each way in which the layout does not divide the model."""
    try:
        sizes = sizes_of(config)
    except ConfigError:
        return  # problems() tells about a folder that cannot be read
    yield from problems_of_layout(sizes, parallel)


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
        pickled = next(iter([*folder.glob("*.bin"), *folder.glob("*.pth")]), None)
        found = f", only {pickled.name}, a pickle, which can run code" if pickled else ""
        yield (
            f"model.path: {folder} has no *.safetensors file{found}; save the model with "
            f"model.save_pretrained(folder)"
        )
        return
    for path in weights:
        with path.open("rb") as file:
            if file.read(len(_GIT_LFS_POINTER)) == _GIT_LFS_POINTER:
                yield f"model.path: {path} is a git-lfs pointer; run git lfs pull in {folder}"
    yield from _missing_shards(folder)


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

"""What can be known about model=... before anything heavy is imported."""

from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ConfigError, ModelConfig, ParallelConfig, PathModel
from slime.model.architecture import read_architecture
from slime.model.check_weights import weight_problems
from slime.model.sizes import problems_of_layout, sizes_of
from slime.model.vocabulary import largest_token, refuse_tokens_without_a_row


def problems(config: ModelConfig) -> Iterator[str]:
    """One line for each thing that is wrong with the model folder the user named."""
    if isinstance(config, PathModel):
        yield from _folder_problems(Path(config.path).expanduser())
        yield from family_problems(config)


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


def family_problems(config: ModelConfig) -> Iterator[str]:
    """A line when the folder holds a model of another family than the preset's."""
    if not isinstance(config, PathModel):
        return
    wanted, folder = _FAMILIES.get(config.name), Path(config.path).expanduser()
    try:
        found = read_architecture(folder).family
    except ConfigError:
        return  # problems() tells about a folder that cannot be read
    if wanted not in (None, found):
        yield (
            f"model.path: {folder} holds a {found} model, and model={config.name} is a {wanted}: "
            f"write model=path, or give the folder of that model"
        )


def _folder_problems(folder: Path) -> Iterator[str]:
    try:
        vocabulary_size = read_architecture(folder).vocabulary_size
        refuse_tokens_without_a_row(folder, largest_token(folder), vocabulary_size)
    except ConfigError as unfit:
        yield str(unfit)
        if not folder.is_dir():
            return
    yield from weight_problems(folder)
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

"""Which files of a folder hold its weights.

The names in an index come from elsewhere and say which files are opened.  Standard library only.
"""

from pathlib import Path

from slime.config.schema import ConfigError
from slime.reading import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[str]:
    """The names of the files in `folder` that hold the weights; they may be missing.

    Raises ConfigError, one line, when there is neither a single file nor an index, when the index
    is none, or when each of the two stands for other weights.
    """
    index = folder / INDEX
    single = (folder / SINGLE).is_file()
    if not index.is_file():
        if not single:
            raise ConfigError(
                f"model.path: {folder} has neither {SINGLE} nor {INDEX}; "
                f"weights are read from safetensors only, never from pickle files"
            )
        return [SINGLE]
    names = _names_in(index)
    # transformers reads the single file then, and other programs what the index names.
    if single and names != [SINGLE]:
        raise ConfigError(
            f"model.path: {folder / SINGLE} and {index} stand for different weights ({names[0]}): "
            f"delete the one that is not meant"
        )
    return names


def names_in_index(index: Path) -> set[object]:
    """What the weight_map of an index names, whatever that is.

    Raises ValueError where there is none.
    """
    try:
        return set(read_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("no weight_map") from None


def is_plain_name(name: object, *suffixes: str) -> bool:
    """Whether it can be a file of that kind in the folder of the index itself."""
    return (
        isinstance(name, str)
        and name.endswith(suffixes)
        and name.isprintable()
        and "/" not in name
    )  # fmt: skip


def _names_in(index: Path) -> list[str]:
    try:
        named = names_in_index(index)
    except ValueError:
        named = set()
    if not named:
        raise ConfigError(
            f"model.path: {index} is not a readable index of weights, with a weight_map; download "
            f"the model again"
        )
    strange = [name for name in named if not is_plain_name(name, ".safetensors")]
    if strange:
        raise ConfigError(
            f"model.path: {index} names {strange[0]!r:.60}, which is no *.safetensors file of this "
            f"folder; download the model again"
        )
    return sorted(map(str, named))

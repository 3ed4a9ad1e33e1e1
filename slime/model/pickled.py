"""Which pickles of a folder hold its weights.  Standard library only: none of them is opened."""

import shlex
from pathlib import Path

from slime.config.schema import ConfigError
from slime.model.index import is_plain_name, names_in_index

SUFFIXES = (".bin", ".pt", ".pth")
_SINGLE = "pytorch_model.bin"
_INDEX = "pytorch_model.bin.index.json"

# What trainers leave beside the weights: the beginnings of their names.
_OF_TRAINERS = (
    "training_args.",
    "optimizer",
    "scheduler.",
    "scaler.",
    "rng_state",
    "random_states",
)


def pickled_weights(folder: Path) -> list[Path]:
    """pytorch_model.bin, or what its index names; without these two all that may be weights.

    Raises ConfigError, one line, when the two stand for different weights, or the index is none or
    names what is not in the folder.
    """
    single, index = folder / _SINGLE, folder / _INDEX
    if index.is_file():
        files = _files_in(index)
        if single.is_file() and files != [single]:
            raise ConfigError(
                f"{single} and {index} stand for different weights ({files[0].name}): delete the "
                f"one that is not meant"
            )
        return files
    if single.is_file():
        return [single]
    found = (path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))
    return sorted(path for path in found if not path.name.startswith(_OF_TRAINERS))


def command(folder: Path) -> str:
    """What to type into a shell to convert them."""
    return f"python -m slime.model.unpickle {shlex.quote(str(folder))}"


def _files_in(index: Path) -> list[Path]:
    try:
        named = names_in_index(index)
    except ValueError:
        named = set()
    if not named:
        raise ConfigError(f"{index} is not a readable index of weights, with a weight_map")
    for name in named:
        if not is_plain_name(name, *SUFFIXES):
            raise ConfigError(
                f"{index} names {name!r:.60}, which is no {' or '.join(SUFFIXES)} file of this "
                f"folder"
            )
    files = sorted(index.parent / str(name) for name in named)
    for file in files:
        if not file.is_file():
            raise ConfigError(f"{index} names {file.name}, which is not there")
    return files

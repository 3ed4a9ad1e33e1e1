"""Pickled weights into safetensors: python -m slime.model.unpickle FOLDER

torch reads the pickles as bare tensors (weights_only), which runs none of their code; what is more
than tensors is refused.  Files are converted one after the other, and the pickles stay.
"""

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slime.config.schema import ConfigError

PATTERNS = ("*.bin", "*.pt", "*.pth")
_INDEX = "model.safetensors.index.json"


def pickled_weights(folder: Path) -> list[Path]:
    """Files whose names say that they hold pickled tensors."""
    return sorted(path for pattern in PATTERNS for path in folder.glob(pattern))


def command(folder: Path) -> str:
    return f"python -m slime.model.unpickle {folder}"


def unpickle(folder: Path) -> None:
    """Write model.safetensors, or several files and their index, beside the pickles in `folder`.

    Raises ConfigError for a folder without pickled weights, or with one that is not a dictionary of
    tensors.
    """
    from safetensors.torch import save_file

    files = pickled_weights(folder)
    if not files:
        raise ConfigError(f"{folder} has no {' or '.join(PATTERNS)} file")
    weight_map: dict[str, str] = {}
    for number, file in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        name = name if len(files) > 1 else "model.safetensors"
        tensors = dict(_tensors(file))
        if twice := sorted(tensors.keys() & weight_map.keys()):
            raise ConfigError(f"{file} holds {twice[0]}, which another file of {folder} holds too")
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    if len(files) > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Copies: several names may stand for one tensor, which safetensors does not know."""
    import torch

    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as broken:
        reason = (str(broken) or type(broken).__name__).splitlines()[0]
        raise ConfigError(f"{file} cannot be read as bare tensors: {reason}") from None
    for name, tensor in found.items() if isinstance(found, dict) else ():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ConfigError(f"{file} holds {name!r}, which is not a tensor")
        yield name, tensor.clone(memory_format=torch.contiguous_format)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m slime.model.unpickle FOLDER", file=sys.stderr)
        return 2
    try:
        unpickle(Path(arguments[0]).expanduser())
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

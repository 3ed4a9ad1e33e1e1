"""Pickled weights into safetensors: python -m slime.model.unpickle FOLDER

Files are read one after the other as bare tensors, which runs none of their code, and written
aside; only when all of them proved right do they get their names.  The pickles stay.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copymode
from tempfile import TemporaryDirectory

from slime.config.schema import ConfigError
from slime.model.index import INDEX, SINGLE
from slime.model.pickled import SUFFIXES, pickled_weights


def unpickle(folder: Path) -> None:
    """Write model.safetensors, or several files and their index, beside the pickles in `folder`.

    Raises ConfigError, and leaves the folder as it was: when it has no pickled weights or has
    safetensors already, when a pickle is not a dictionary of dense tensors, or when nothing can be
    written.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    there = sorted(path.name for path in (*folder.glob("*.safetensors"), *folder.glob(INDEX)))
    if there:
        raise ConfigError(f"{folder} has {there[0]} already: delete that to convert the pickles")
    files = pickled_weights(folder)
    if not files:
        raise ConfigError(f"{folder} has no {' or '.join(f'*{s}' for s in SUFFIXES)} of weights")
    try:
        with TemporaryDirectory(prefix=".unpickle-", dir=folder) as aside:
            _convert(files, Path(aside))
            _move(Path(aside), folder)
    except OSError as failed:
        raise ConfigError(f"{folder} cannot be written to: {failed.strerror}") from None


def _convert(files: Sequence[Path], target: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from slime.model.bare_tensors import bare_tensors

    weight_map: dict[str, str] = {}
    for number, file in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors" if len(files) > 1 else SINGLE
        tensors = bare_tensors(file)
        if twice := sorted(tensors.keys() & weight_map.keys()):
            raise ConfigError(f"{file} holds {twice[0]!r:.200}, which another file holds too")
        try:
            save_file(tensors, target / name, metadata={"format": "pt"})
        except SafetensorError as failed:
            reason = str(failed).splitlines()[0]
            raise ConfigError(f"{file} cannot be written as safetensors: {reason}") from None
        copymode(file, target / name)  # else only its owner could read it
        weight_map |= dict.fromkeys(tensors, name)
        del tensors  # before the next file is read
    if len(files) > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        (target / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _move(source: Path, target: Path) -> None:
    """The index last: without it several files are no weights yet."""
    moved: list[Path] = []
    try:
        for file in sorted(source.iterdir(), key=lambda path: path.name == INDEX):
            moved.append(file.rename(target / file.name))
    except BaseException:
        for file in moved:
            file.unlink()
        raise


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

"""The tensors of a Hugging Face folder, read one at a time from safetensors files."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from slime.config.schema import ConfigError
from slime.model.index import weight_files


class WeightsFolder:
    """Open files; a tensor's bytes are read when it is asked for."""

    def __init__(self, path: Path, file_of: dict[str, Any]) -> None:
        self.path = path
        self._file_of = file_of

    def names(self) -> frozenset[str]:
        return frozenset(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensor(name).shape

    def tensor(self, name: str) -> "StoredTensor":
        return StoredTensor(self._file_of[name].get_slice(name))


class StoredTensor:
    """One tensor in a file; only the part that is asked for is read."""

    def __init__(self, slices: Any) -> None:
        self._slices = slices

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._slices.get_shape())

    def part(self, dimension: int, start: int, end: int) -> Tensor:
        """Its rows (dimension 0) or columns (1) from start to end."""
        read: Tensor = self._slices[(slice(None),) * dimension + (slice(start, end),)]
        return read


@contextmanager
def open_weights(path: Path) -> Iterator[WeightsFolder]:
    """The weights in `path`: model.safetensors, or the files its index names.

    Only safetensors: a pickle runs code when it is read.  Raises ConfigError, one line naming the
    folder, when there are none, a file is missing or broken, or two files hold the same tensor.
    """
    with ExitStack() as files:
        file_of: dict[str, Any] = {}
        for name in weight_files(path):
            file = path / name
            try:
                opened = files.enter_context(safe_open(file, framework="pt"))
            except (OSError, SafetensorError) as broken:
                reason = str(broken).splitlines()[0]
                raise ConfigError(f"model.path: {file} cannot be read: {reason}") from None
            names = opened.keys()
            if twice := sorted(file_of.keys() & set(names)):
                raise ConfigError(
                    f"model.path: {file} holds {twice[0]!r:.200}, which another file of its index "
                    f"holds too: which one counts is not certain; download the model again"
                )
            file_of.update(dict.fromkeys(names, opened))
        yield WeightsFolder(path, file_of)

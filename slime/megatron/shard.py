"""A safetensors file, in memory or on the disk, filled one tensor after the other.

safetensors' own functions want all tensors at once; here there is never more than one.
"""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from slime.megatron.convert import Described

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_ALIGNMENT = 8  # of the header, in bytes


Tensors = Iterator[tuple[str, Tensor]]


def encode(described: Sequence[Described], tensors: Tensors) -> bytes:
    """The file in memory.

    described: of every tensor, in the order in which they come.
    Raises ValueError when one comes that is not the described one.
    """
    file = BytesIO()
    file.seek(len(_header(described)) + sum(_bytes_of(one) for one in described) - 1)
    file.write(b"\0")  # all of the room at once, so that it never has to grow
    file.seek(0)
    _fill(file, described, tensors)
    return file.getvalue()


def write(path: Path, described: Sequence[Described], tensors: Tensors) -> None:
    """The file on the disk; also raises OSError, but goes through all tensors all the same.

    Other ranks may have a part in making each of them, and would wait.
    """
    try:
        with path.open("wb") as file:
            _fill(file, described, tensors)
    except OSError:
        for _ in tensors:
            pass
        raise


def _fill(file: BinaryIO, described: Sequence[Described], tensors: Tensors) -> None:
    file.write(_header(described))
    for one, (name, tensor) in zip(described, tensors, strict=True):
        if (one.name, one.shape, one.dtype) != (name, tuple(tensor.shape), tensor.dtype):
            raise ValueError(f"{one} was announced, but {name} {list(tensor.shape)} came")
        flat = tensor.detach().cpu().contiguous().flatten()
        file.write(flat.view(torch.uint8).numpy().data)


def _bytes_of(one: Described) -> int:
    return prod(one.shape) * one.dtype.itemsize


def _header(described: Sequence[Described]) -> bytes:
    """A length of 8 bytes, and JSON: what each tensor is, and where it lies behind the header."""
    values, start = {}, 0
    for one in described:
        end = start + _bytes_of(one)
        values[one.name] = {
            "dtype": _DTYPES[one.dtype],
            "shape": list(one.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(values, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text

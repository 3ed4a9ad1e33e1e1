"""A safetensors file in memory, filled one tensor after the other.

safetensors' own function wants all tensors at once, beside the bytes that it makes of them; here
there are the bytes and one tensor.
"""

import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from math import prod

import torch
from torch import Tensor

from slime.megatron.convert import Described

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_ALIGNMENT = 8  # of the header, in bytes


def encode(described: Sequence[Described], tensors: Iterable[tuple[str, Tensor]]) -> bytes:
    """described: of every tensor, in the order in which they come.

    Raises ValueError when one comes that is not the described one.
    """
    header = _header(described)
    total = len(header) + sum(_bytes_of(one) for one in described)
    file = BytesIO()
    file.seek(total - 1)
    file.write(b"\0")  # all of the room at once, so that it never has to grow
    file.seek(0)
    file.write(header)
    for one, (name, tensor) in zip(described, tensors, strict=True):
        if (one.name, one.shape, one.dtype) != (name, tuple(tensor.shape), tensor.dtype):
            raise ValueError(f"{one} was announced, but {name} {list(tensor.shape)} came")
        flat = tensor.detach().cpu().contiguous().flatten()
        file.write(flat.view(torch.uint8).numpy().data)
    return file.getvalue()


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

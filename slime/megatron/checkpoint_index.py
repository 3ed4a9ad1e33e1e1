"""Which tensors a checkpoint holds, and which part of each is in which file: tensors.json.

torch's own index is a pickle, and a pickle runs what it says; this one is data.

    {"format": 1, "files": [NAME, ...],
     "tensors": {NAME: {"dtype": ..., "size": [...], "chunks": [[OFFSETS, SIZES, FILE], ...]}, ...}}

FILE is a place in the list of files.  A chunk is in its file under its chunk_name().
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.storage import WriteResult

from slime.reading import read_json

INDEX, _FORMAT = "tensors.json", 1
_FILE = re.compile(r"tensors-[0-9]{5,9}\.safetensors")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_MOST_DIMENSIONS, _LARGEST = 8, 1 << 48


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """Where a part of a tensor is, and what it must be there."""

    file: str
    sizes: torch.Size
    dtype: torch.dtype


def file_name(rank: int) -> str:
    """Of what this rank writes."""
    return f"tensors-{rank:05d}.safetensors"


def chunk_name(index: MetadataIndex) -> str:
    """A tensor's name and where in it the chunk begins."""
    return f"{index.fqn}@{','.join(map(str, index.offset or ()))}"


def write_index(folder: Path, metadata: Metadata, results: Iterable[WriteResult]) -> None:
    """results: of every rank; their storage_data is the name of the file."""
    file_of = {result.index: result.storage_data for result in results}
    number_of = {name: number for number, name in enumerate(sorted(set(file_of.values())))}
    tensors = {}
    for name, stored in metadata.state_dict_metadata.items():
        assert isinstance(stored, TensorStorageMetadata)
        tensors[name] = {
            "dtype": str(stored.properties.dtype).removeprefix("torch."),
            "size": stored.size,
            "chunks": [
                [c.offsets, c.sizes, number_of[file_of[MetadataIndex(name, c.offsets)]]]
                for c in stored.chunks
            ],
        }
    text = json.dumps({"format": _FORMAT, "files": list(number_of), "tensors": tensors})
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def read_index(folder: Path) -> Metadata:
    """As torch wants it; its storage_data gives a StoredChunk for each chunk.

    Raises OSError, or ValueError for an index that says anything but which parts of tensors are in
    which files of this folder.
    """
    content = read_json(folder / INDEX)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{INDEX} is not of format {_FORMAT}")
    files, tensors = content.get("files"), content.get("tensors")
    if not isinstance(files, list) or not all(_is_file(name) for name in files):
        raise ValueError(f"{INDEX} names files that a checkpoint does not have")
    if not isinstance(tensors, dict):
        raise ValueError(f"{INDEX} names no tensors")
    metadata = Metadata({}, storage_data={})
    for name, facts in tensors.items():
        try:
            _add(metadata, name, facts, files)
        except (ValueError, TypeError, KeyError, IndexError):
            raise ValueError(f"{INDEX} does not say what {name[:200]!r} is") from None
    return metadata


def _is_file(name: Any) -> bool:
    return isinstance(name, str) and _FILE.fullmatch(name) is not None


def _add(metadata: Metadata, name: str, facts: Any, files: Sequence[str]) -> None:
    size, dtype = _numbers(facts["size"]), _DTYPES[facts["dtype"]]
    chunks = []
    for offsets, sizes, file in facts["chunks"]:
        chunk = ChunkStorageMetadata(_numbers(offsets), _numbers(sizes))
        ends = [start + length for start, length in zip(chunk.offsets, chunk.sizes, strict=True)]
        if any(end > whole for end, whole in zip(ends, size, strict=True)):
            raise ValueError("a chunk ends outside of the tensor")
        stored = StoredChunk(files[_number(file)], chunk.sizes, dtype)
        metadata.storage_data[MetadataIndex(name, chunk.offsets)] = stored
        chunks.append(chunk)
    begins = {chunk.offsets for chunk in chunks}
    covered = sum(math.prod(chunk.sizes) for chunk in chunks)
    if len(begins) < len(chunks) or covered != math.prod(size):
        raise ValueError("the chunks are not the whole tensor")
    properties = TensorProperties(dtype=dtype)
    metadata.state_dict_metadata[name] = TensorStorageMetadata(properties, size, chunks)


def _numbers(values: Any) -> torch.Size:
    if not isinstance(values, list) or len(values) > _MOST_DIMENSIONS:
        raise TypeError("no list of a few numbers")
    return torch.Size([_number(value) for value in values])


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise TypeError("no number that a tensor could have")
    return value

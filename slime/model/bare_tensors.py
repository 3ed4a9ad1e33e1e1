"""The tensors of one pickle.  torch reads them without running any code (weights_only)."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from slime.config.schema import ConfigError

_ZIP = b"PK\x03\x04"  # how torch writes since 1.6; what is older has to be read into memory
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_OBJECT = re.compile(r"GLOBAL (\S+)")


def bare_tensors(file: Path) -> dict[str, Tensor]:
    """Contiguous and each with memory of its own, as safetensors wants them.

    Several names may stand for one tensor, or for parts of one.  What a zip holds stays in the file
    until it is read.  Raises ConfigError, one line, for a file that cannot be read, is not a
    dictionary of tensors, or has one that safetensors has no form for.
    """
    found = _load(file)
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds a {type(found).__name__}, not a dictionary of tensors")
    if not found:
        raise ConfigError(f"{file} holds no tensors")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ConfigError(f"{file} holds {name!r:.60}, which is not a tensor")
        if unfit := "; ".join(_unfit(tensor)):
            raise ConfigError(f"{file}: {name!r:.200} {unfit}, which cannot be converted")
    return dict(_separate(found))


def _load(file: Path) -> Any:
    try:
        with file.open("rb") as opened:
            beginning = opened.read(len(_ZIP))
        if not beginning:
            raise ConfigError(f"{file} is empty; download or copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickles, which are read all the same
            return torch.load(file, map_location="cpu", weights_only=True, mmap=beginning == _ZIP)
    except ConfigError:
        raise
    except Exception as broken:  # of a file that is none torch raises many kinds
        raise ConfigError(f"{file} cannot be read as bare tensors: {_reason(broken)}") from None


def _reason(broken: Exception) -> str:
    """torch's in a few words: its own has many lines, colours, and says how to run the code."""
    text = str(broken)
    if objects := _OBJECT.search(text):
        return f"it holds {objects[1]!r:.60} too, and code may run when such an object is read"
    if "Weights only load failed" in text:
        return "it is no pickle of tensors, or a broken one"
    if "PytorchStreamReader" in text:
        return "it is cut short or broken; download or copy it again"
    first = (_ESCAPE.sub("", text).strip() or type(broken).__name__).splitlines()[0]
    sentence = first.partition(". ")[0]
    return "".join(letter for letter in sentence if letter.isprintable())[:200]


def _unfit(tensor: Tensor) -> Iterator[str]:
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        yield f"is a {type(tensor).__name__}"
    elif tensor.is_meta:
        yield "is a meta tensor, without values"
    elif tensor.is_quantized:
        yield "is quantised"
    elif tensor.layout is not torch.strided or tensor.is_nested:
        yield f"is not dense ({tensor.layout})"
    elif not _has_a_form(tensor.dtype):
        yield f"is of {tensor.dtype}"


def _has_a_form(dtype: torch.dtype) -> bool:
    try:
        save({"": torch.empty(0, dtype=dtype)})
    except Exception:  # safetensors documents none
        return False
    return True


def _separate(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Only what shares its memory or leaves some of it out is copied, and let go of at once."""
    taken: set[int] = set()
    for name in list(tensors):
        values = tensors.pop(name).detach().resolve_conj().resolve_neg()
        storage = values.untyped_storage()
        whole = values.is_contiguous() and storage.nbytes() == values.nbytes
        if not whole or storage.data_ptr() in taken:
            values = values.clone(memory_format=torch.contiguous_format)
        taken.add(values.untyped_storage().data_ptr())
        yield name, values

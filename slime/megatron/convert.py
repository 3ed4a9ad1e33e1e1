"""Hugging Face weights into a Megatron model, and back, a tensor at a time.

Loading reads of each tensor only the part that this rank holds; exporting makes one whole tensor
after the other.  Neither ever has more than one of them beside the model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slime.config.schema import ConfigError
from slime.distributed.groups import tensor_parallel
from slime.megatron.entries import Entry, entries
from slime.megatron.model import LanguageModel
from slime.megatron.weights_folder import WeightsFolder, open_weights
from slime.model.architecture import Architecture, read_architecture
from slime.model.tensors import tensor_shapes

_EMBEDDING, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


def load_folder(model: LanguageModel, folder: Path) -> None:
    """Fill every parameter of `model` from the safetensors in `folder`.

    Raises ConfigError naming the folder and the tensors that are missing, unexpected or of another
    shape than config.json says; the model is untouched then.
    """
    architecture = read_architecture(folder)
    group = tensor_parallel()
    with open_weights(folder) as weights, torch.no_grad():
        _check(weights, architecture)
        for entry in entries(model):
            stored = [weights.tensor(name) for name in entry.names]
            entry.packing.fill(entry.parameter, stored, group)


@dataclass(frozen=True, slots=True)
class Described:
    """A tensor that is going to be exported."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class Export:
    """Hugging Face names and whole tensors of some parameters of this rank's model.

    Every rank of a tensor-parallel group must go through the same tensors to the end, and each gets
    everything.
    """

    def __init__(
        self, chosen: Sequence[Entry], value_of: Callable[[Tensor], Tensor] = Tensor.detach
    ) -> None:
        """value_of: what of each parameter to export, of its shape: its value, its gradient."""
        self._chosen = chosen
        self._value_of = value_of

    def described(self) -> list[Described]:
        """What tensors() will give, without making any of it."""
        copies = tensor_parallel().size
        found = []
        for entry in self._chosen:
            dtype = self._value_of(entry.parameter).dtype
            shards = [torch.empty(entry.parameter.shape, device="meta")] * copies
            whole = entry.packing.join(shards)
            for name, tensor in zip(entry.names, whole, strict=True):
                found.append(Described(name, tuple(tensor.shape), dtype))
        return found

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """On the model's device; they may be views of what value_of gave."""
        group = tensor_parallel()
        for entry in self._chosen:
            shards = group.gather(self._value_of(entry.parameter))
            yield from zip(entry.names, entry.packing.join(shards), strict=True)


def export(model: LanguageModel, value_of: Callable[[Tensor], Tensor] = Tensor.detach) -> Export:
    """All that this pipeline stage has, and of experts those of this rank."""
    return Export([entry for entry in entries(model) if not entry.is_copy], value_of)


def export_experts(
    model: LanguageModel, value_of: Callable[[Tensor], Tensor] = Tensor.detach
) -> Export:
    """This rank's experts only."""
    return Export([entry for entry in entries(model) if entry.is_of_expert], value_of)


def _check(weights: WeightsFolder, architecture: Architecture) -> None:
    expected = dict(tensor_shapes(architecture))
    found = weights.names()
    problems = [
        _problem(
            "lacks tensors that its config.json asks for",
            [name for name in expected if name not in found],
        ),
        _problem(
            "has tensors that its config.json does not ask for",
            [name for name in found if name not in expected and not _is_harmless(name)],
        ),
        _problem(
            "has tensors of another shape than its config.json says",
            [
                f"{name} {list(weights.shape(name))} instead of {list(shape)}"
                for name, shape in expected.items()
                if name in found and weights.shape(name) != shape
            ],
        ),
    ]
    if not any(problems) and architecture.tied_embeddings:
        problems.append(_untied(weights))
    lines = [f"model.path: {weights.path} {problem}" for problem in problems if problem]
    if lines:
        raise ConfigError("\n".join(lines))


_ROWS_AT_A_TIME = 4096


def _untied(weights: WeightsFolder) -> str | None:
    """transformers then keeps both, whatever config.json says."""
    if _OUTPUT not in weights.names():
        return None
    output, embedding = weights.tensor(_OUTPUT), weights.tensor(_EMBEDDING)
    if output.shape == embedding.shape and all(
        torch.equal(
            output.part(0, row, row + _ROWS_AT_A_TIME),
            embedding.part(0, row, row + _ROWS_AT_A_TIME),
        )
        for row in range(0, output.shape[0], _ROWS_AT_A_TIME)
    ):
        return None
    return (
        f"has another {_OUTPUT} than {_EMBEDDING}, and its config.json says "
        f"tie_word_embeddings=true: write false there"
    )


def _is_harmless(name: str) -> bool:
    """Files of tied models may repeat the embedding, old Llama files hold rotary tables."""
    return name == _OUTPUT or name.endswith("rotary_emb.inv_freq")


def _problem(what: str, tensors: Sequence[str]) -> str | None:
    if not tensors:
        return None
    shown = ", ".join(sorted(tensors)[:3])
    more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
    return f"{what}: {shown}{more}"

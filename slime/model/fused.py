"""Experts as transformers keeps them in memory, and as they are in files.

transformers 5 has one tensor for the gates and up projections of all experts of a layer, and one
for the down projections; files and the trainer have three tensors for each expert.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

_GATE_UP, _DOWN = ".experts.gate_up_proj", ".experts.down_proj"


def as_in_files(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names of the files; experts are views of the tensors that hold them."""
    return {name: part for whole in tensors.items() for name, part in _parts(*whole)}


def _parts(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name.endswith(_GATE_UP):
        prefix = name.removesuffix("gate_up_proj")
        for expert, both in enumerate(tensor):
            gate, up = both.chunk(2)
            yield f"{prefix}{expert}.gate_proj.weight", gate
            yield f"{prefix}{expert}.up_proj.weight", up
    elif name.endswith(_DOWN):
        prefix = name.removesuffix("down_proj")
        for expert, down in enumerate(tensor):
            yield f"{prefix}{expert}.down_proj.weight", down
    else:
        yield name, tensor

"""Hugging Face weights into a Megatron model, and back, for Llama, Qwen2 and Qwen3.

Each Megatron parameter stands for one to three Hugging Face tensors.  A Packing says how they are
laid out in it and how it is split over tensor-parallel ranks; the round trip is exact.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from slime.config.schema import ConfigError
from slime.distributed.groups import Peers, tensor_parallel
from slime.megatron.model import LanguageModel
from slime.megatron.weights_folder import WeightsFolder, open_weights


class Packing(Protocol):
    """How one Megatron parameter holds some Hugging Face tensors."""

    def shard(self, tensors: Sequence[Tensor], group: Peers) -> Tensor:
        """Whole Hugging Face tensors -> this rank's parameter."""
        ...

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        """The parameter of every tensor-parallel rank -> whole Hugging Face tensors."""
        ...


class Replicated:
    """One tensor, the same on every rank: norms."""

    def shard(self, tensors: Sequence[Tensor], group: Peers) -> Tensor:  # noqa: ARG002
        return tensors[0]

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        return [shards[0]]


@dataclass(frozen=True, slots=True)
class Split:
    """One tensor, split along `dimension`: embeddings by rows, projections back by columns."""

    dimension: int

    def shard(self, tensors: Sequence[Tensor], group: Peers) -> Tensor:
        return tensors[0].chunk(group.size, self.dimension)[group.rank]

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        return [torch.cat(list(shards), self.dimension)]


class GateAndUp:
    """Each rank has its rows of the gate, then its rows of the up projection."""

    def shard(self, tensors: Sequence[Tensor], group: Peers) -> Tensor:
        return torch.cat([tensor.chunk(group.size)[group.rank] for tensor in tensors])

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        halves = [shard.chunk(2) for shard in shards]
        return [torch.cat([gate for gate, _ in halves]), torch.cat([up for _, up in halves])]


@dataclass(frozen=True, slots=True)
class GroupedHeads:
    """Per key-value head: the rows of its query heads, of its key, of its value.

    Ranks split it between key-value heads.  Weights [rows, hidden_size] and biases [rows] alike.
    """

    queries_per_group: int
    head_size: int

    def _rows(self) -> list[int]:
        return [self.queries_per_group * self.head_size, self.head_size, self.head_size]

    def shard(self, tensors: Sequence[Tensor], group: Peers) -> Tensor:
        grouped = [
            tensor.view(-1, rows, *tensor.shape[1:])
            for tensor, rows in zip(tensors, self._rows(), strict=True)
        ]
        mine = torch.cat(grouped, dim=1).chunk(group.size)[group.rank]
        return mine.flatten(0, 1)

    def join(self, shards: Sequence[Tensor]) -> list[Tensor]:
        whole = torch.cat(list(shards))
        grouped = whole.view(-1, sum(self._rows()), *whole.shape[1:])
        return [tensor.flatten(0, 1) for tensor in torch.split(grouped, self._rows(), dim=1)]


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    parameter: Tensor
    names: tuple[str, ...]  # Hugging Face names
    packing: Packing
    is_copy: bool = False  # of a parameter on another pipeline stage


def load_folder(model: LanguageModel, folder: Path) -> None:
    """Fill every parameter of `model` from the safetensors in `folder`.

    Raises ConfigError naming the folder and the tensors that are missing, unexpected or of another
    shape than the architecture says; the model is untouched then.
    """
    entries = list(_entries(model))
    group = tensor_parallel()
    with open_weights(folder) as weights:
        _check(entries, weights, group, model.config.num_layers)
        with torch.no_grad():
            for entry in entries:
                tensors = [weights.read(name) for name in entry.names]
                entry.parameter.copy_(entry.packing.shard(tensors, group))


def export(
    model: LanguageModel, value_of: Callable[[Tensor], Tensor] = Tensor.detach
) -> Iterator[tuple[str, Tensor]]:
    """Hugging Face names and whole tensors of this pipeline stage, on the model's device.

    value_of: what of each parameter to export, of the parameter's shape: its value, its gradient.
    Every rank of a tensor-parallel group must run it to the end, and each gets everything.  The
    tensors may be views of what value_of gave.
    """
    group = tensor_parallel()
    for entry in _entries(model):
        if entry.is_copy:
            continue
        shards = group.gather(value_of(entry.parameter))
        yield from zip(entry.names, entry.packing.join(shards), strict=True)


def _entries(model: LanguageModel) -> Iterator[_Entry]:
    packings = _layer_packings(model)
    for name, parameter in model.named_parameters():
        if name == _OUTPUT and model.share_embeddings_and_output_weights:
            yield _Entry(parameter, ("model.embed_tokens.weight",), _ROWS, is_copy=True)
            continue
        layer = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", name)
        if layer is None:
            names, packing = _OUTSIDE_LAYERS[name]
            yield _Entry(parameter, names, packing)
            continue
        index = model.decoder.layers[int(layer[1])].layer_number - 1  # counted from 1
        names, packing = packings[layer[2]]
        yield _Entry(parameter, tuple(f"model.layers.{index}.{name}" for name in names), packing)


_ROWS, _COLUMNS, _REPLICATED = Split(0), Split(1), Replicated()
_OUTPUT = "output_layer.weight"

_OUTSIDE_LAYERS: dict[str, tuple[tuple[str, ...], Packing]] = {
    "embedding.word_embeddings.weight": (("model.embed_tokens.weight",), _ROWS),
    "decoder.final_layernorm.weight": (("model.norm.weight",), _REPLICATED),
    _OUTPUT: (("lm_head.weight",), _ROWS),
}

_ENDS = frozenset(name for names, _ in _OUTSIDE_LAYERS.values() for name in names)


def _layer_packings(model: LanguageModel) -> dict[str, tuple[tuple[str, ...], Packing]]:
    config = model.config
    heads = GroupedHeads(config.num_attention_heads // config.num_query_groups, config.kv_channels)
    attention, mlp = "self_attention.", "mlp."
    qkv = tuple(f"self_attn.{kind}_proj" for kind in "qkv")
    return {
        "input_layernorm.weight": (("input_layernorm.weight",), _REPLICATED),
        "pre_mlp_layernorm.weight": (("post_attention_layernorm.weight",), _REPLICATED),
        attention + "q_layernorm.weight": (("self_attn.q_norm.weight",), _REPLICATED),
        attention + "k_layernorm.weight": (("self_attn.k_norm.weight",), _REPLICATED),
        # TransformerEngine keeps a norm and the product after it in one module.
        attention + "linear_qkv.layer_norm_weight": (("input_layernorm.weight",), _REPLICATED),
        mlp + "linear_fc1.layer_norm_weight": (("post_attention_layernorm.weight",), _REPLICATED),
        attention + "linear_qkv.weight": (tuple(f"{name}.weight" for name in qkv), heads),
        attention + "linear_qkv.bias": (tuple(f"{name}.bias" for name in qkv), heads),
        attention + "linear_proj.weight": (("self_attn.o_proj.weight",), _COLUMNS),
        mlp + "linear_fc1.weight": (("mlp.gate_proj.weight", "mlp.up_proj.weight"), GateAndUp()),
        mlp + "linear_fc2.weight": (("mlp.down_proj.weight",), _COLUMNS),
    }


def _check(entries: Sequence[_Entry], weights: WeightsFolder, group: Peers, layers: int) -> None:
    expected = {
        name: tuple(shape)
        for entry in entries
        for name, shape in zip(entry.names, _whole_shapes(entry, group), strict=True)
    }
    found = weights.names()
    problems = [
        _problem(
            "lacks tensors that its config.json asks for",
            [name for name in expected if name not in found],
        ),
        _problem(
            "has tensors that its config.json does not ask for",
            [name for name in found if not _known(name, expected, layers)],
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
    lines = [f"model.path: {weights.path} {problem}" for problem in problems if problem]
    if lines:
        raise ConfigError("\n".join(lines))


def _whole_shapes(entry: _Entry, group: Peers) -> list[torch.Size]:
    shards = [torch.empty(entry.parameter.shape, device="meta")] * group.size
    return [tensor.shape for tensor in entry.packing.join(shards)]


def _known(name: str, expected: dict[str, tuple[int, ...]], layers: int) -> bool:
    """Files of tied models may repeat the embedding, old Llama files hold rotary tables.

    Other pipeline stages have the same tensors for other layers, and the ends of the model.
    """
    if name in expected or name in _ENDS or name.endswith("rotary_emb.inv_freq"):
        return True
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
    if layer is None or int(layer[1]) >= layers:
        return False
    return any(other.endswith(f".{layer[2]}") for other in expected)


def _problem(what: str, tensors: Sequence[str]) -> str | None:
    if not tensors:
        return None
    shown = ", ".join(sorted(tensors)[:3])
    more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
    return f"{what}: {shown}{more}"

"""Which Hugging Face tensors each Megatron parameter stands for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from slime.distributed.groups import expert_parallel
from slime.megatron.model import LanguageModel
from slime.megatron.packings import GateAndUp, GroupedHeads, Packing, Replicated, Split

# Of a layer's parameters: the names in the layer, and how they are packed.
_Named = tuple[tuple[str, ...], Packing]

_ROWS, _COLUMNS, _REPLICATED = Split(0), Split(1), Replicated()
_OUTPUT = "output_layer.weight"

_OUTSIDE_LAYERS: dict[str, _Named] = {
    "embedding.word_embeddings.weight": (("model.embed_tokens.weight",), _ROWS),
    "decoder.final_layernorm.weight": (("model.norm.weight",), _REPLICATED),
    _OUTPUT: (("lm_head.weight",), _ROWS),
}


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One parameter of this rank's model."""

    parameter: Tensor
    names: tuple[str, ...]  # Hugging Face names
    packing: Packing
    is_copy: bool = False  # of a parameter on another pipeline stage
    is_of_expert: bool = False


def entries(model: LanguageModel) -> Iterator[Entry]:
    """In the model's order."""
    named_in_layer = _layer_packings(model)
    for name, parameter in model.named_parameters():
        if name == _OUTPUT and model.share_embeddings_and_output_weights:
            yield Entry(parameter, ("model.embed_tokens.weight",), _ROWS, is_copy=True)
            continue
        layer = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", name)
        if layer is None:
            names, packing = _OUTSIDE_LAYERS[name]
            yield Entry(parameter, names, packing)
            continue
        index = model.decoder.layers[int(layer[1])].layer_number - 1  # counted from 1
        expert = re.fullmatch(r"mlp\.experts\.local_experts\.(\d+)\.(.+)", layer[2])
        if expert is None:
            names, packing = named_in_layer[layer[2]]
        else:
            names, packing = _of_expert(_number(model, int(expert[1])), expert[2])
        whole = tuple(f"model.layers.{index}.{name}" for name in names)
        yield Entry(parameter, whole, packing, is_of_expert=expert is not None)


def _number(model: LanguageModel, local: int) -> int:
    """Of the experts of a layer each expert-parallel worker has a run."""
    group, experts = expert_parallel(), int(model.config.num_moe_experts)
    return group.rank * (experts // group.size) + local


def _of_expert(number: int, parameter: str) -> _Named:
    prefix = f"mlp.experts.{number}."
    if parameter == "linear_fc1.weight":
        return (f"{prefix}gate_proj.weight", f"{prefix}up_proj.weight"), GateAndUp()
    if parameter == "linear_fc2.weight":
        return (f"{prefix}down_proj.weight",), _COLUMNS
    raise KeyError(f"no Hugging Face tensor stands for {parameter} of an expert")


def _layer_packings(model: LanguageModel) -> dict[str, _Named]:
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
        mlp + "router.weight": (("mlp.gate.weight",), _REPLICATED),
    }

"""New weights into a transformers model."""

from collections.abc import Sequence

import safetensors.torch
import torch
from torch import Tensor, nn

from slime.model.fused import as_in_files


def copy_weights(model: nn.Module, shards: Sequence[bytes]) -> None:
    """Copy safetensors-encoded tensors under Hugging Face names into `model`'s parameters.

    Empty shards are skipped; a second name of a tied parameter (lm_head.weight) may be left out.
    Raises ValueError, before anything is copied, when the shards lack a parameter, hold one twice,
    hold one the model does not have, or hold one in another shape.
    """
    incoming = _decode(shards)
    own = dict(model.named_parameters())
    second_names = model.state_dict().keys() - own.keys()
    parameters = as_in_files({name: parameter.detach() for name, parameter in own.items()})
    for name in second_names:
        incoming.pop(name, None)
    if missing := sorted(parameters.keys() - incoming.keys()):
        raise ValueError(f"the weights lack {len(missing)} parameters, {missing[0]} among them")
    if unknown := sorted(incoming.keys() - parameters.keys()):
        raise ValueError(f"the weights hold {unknown[0]}, which the model does not have")
    for name, tensor in incoming.items():
        if tensor.shape != parameters[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} in the weights, "
                f"{tuple(parameters[name].shape)} in the model"
            )
    with torch.no_grad():
        for name, tensor in incoming.items():
            parameters[name].copy_(tensor)


def _decode(shards: Sequence[bytes]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if not shard:
            continue
        decoded = safetensors.torch.load(shard)
        if twice := sorted(tensors.keys() & decoded.keys()):
            raise ValueError(f"the weights hold {twice[0]} twice")
        tensors |= decoded
    return tensors

"""What a transformer layer is made of: TransformerEngine's modules, or megatron's local ones."""

from importlib.util import find_spec

import torch
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)

from slime.megatron.attention import CausalAttention
from slime.megatron.norm import RMSNorm


def runs_on_transformer_engine(device: torch.device, dtype: torch.dtype) -> bool:
    """Its attention has no packed sequences and no context parallelism in float32."""
    installed = find_spec("transformer_engine") is not None
    return installed and device.type == "cuda" and dtype == torch.bfloat16


def block_spec(config: TransformerConfig, device: torch.device) -> TransformerBlockSubmodules:
    """The layers of this pipeline stage, and the norm after the last of all."""
    if runs_on_transformer_engine(device, config.params_dtype):
        return _transformer_engine(config)
    return _local(config)


def _local(config: TransformerConfig) -> TransformerBlockSubmodules:
    """megatron's local layers with our attention and norms; the final norm is ours too."""
    layer = get_gpt_layer_local_spec(
        num_experts=config.num_moe_experts,
        qk_layernorm=config.qk_layernorm,
        normalization="RMSNorm",
    )
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = CausalAttention
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    layers = [layer] * get_num_layers_to_build(config)
    return TransformerBlockSubmodules(layer_specs=layers, layer_norm=RMSNorm)


def _transformer_engine(config: TransformerConfig) -> TransformerBlockSubmodules:
    from megatron.core.extensions.transformer_engine import TENorm  # needs TransformerEngine

    layer = get_gpt_layer_with_transformer_engine_spec(
        num_experts=config.num_moe_experts, qk_layernorm=config.qk_layernorm
    )
    layers = [layer] * get_num_layers_to_build(config)
    return TransformerBlockSubmodules(layer_specs=layers, layer_norm=TENorm)

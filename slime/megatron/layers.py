"""What a transformer layer is made of: TransformerEngine's modules, or megatron's local ones."""

from importlib.util import find_spec

import torch
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset

from slime.megatron.attention import CausalAttention
from slime.megatron.experts import experts_spec
from slime.megatron.norm import RMSNorm


def runs_on_transformer_engine(device: torch.device, dtype: torch.dtype) -> bool:
    """Its attention has no packed sequences and no context parallelism in float32."""
    installed = find_spec("transformer_engine") is not None
    return installed and device.type == "cuda" and dtype == torch.bfloat16


def block_spec(config: TransformerConfig, device: torch.device) -> TransformerBlockSubmodules:
    """The layers of this pipeline stage, and the norm after the last of all."""
    if runs_on_transformer_engine(device, config.params_dtype):
        from megatron.core.extensions.transformer_engine import TENorm  # needs TransformerEngine

        return TransformerBlockSubmodules(
            layer_specs=[
                _transformer_engine(config, experts) for experts in _experts_of_stage(config)
            ],
            layer_norm=TENorm,
        )
    return TransformerBlockSubmodules(
        layer_specs=[_local(config, experts) for experts in _experts_of_stage(config)],
        layer_norm=RMSNorm,
    )


def _experts_of_stage(config: TransformerConfig) -> list[int | None]:
    """How many experts each layer of this pipeline stage has; None: one MLP for all tokens."""
    first = get_transformer_layer_offset(config)
    layers = range(first, first + get_num_layers_to_build(config))
    if config.num_moe_experts is None:
        return [None for _ in layers]
    return [config.num_moe_experts if config.moe_layer_freq[n] else None for n in layers]


def _local(config: TransformerConfig, experts: int | None) -> ModuleSpec:
    """megatron's local layers with our attention and norms; the final norm is ours too."""
    layer = get_gpt_layer_local_spec(
        num_experts=experts, qk_layernorm=config.qk_layernorm, normalization="RMSNorm"
    )
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = CausalAttention
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    if experts is not None:
        layer.submodules.mlp = experts_spec(config, transformer_engine=False)
    return layer


def _transformer_engine(config: TransformerConfig, experts: int | None) -> ModuleSpec:
    layer = get_gpt_layer_with_transformer_engine_spec(
        num_experts=experts, qk_layernorm=config.qk_layernorm
    )
    if experts is not None:
        layer.submodules.mlp = experts_spec(config, transformer_engine=True)
    return layer

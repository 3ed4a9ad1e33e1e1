"""Megatron-core's GPTModel for the architectures of slime.model.architecture."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from megatron.core import parallel_state as mpu
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
)
from megatron.core.tensor_parallel.layers import set_tensor_model_parallel_attributes
from megatron.core.tensor_parallel.mappings import gather_from_sequence_parallel_region
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from slime.config.schema import ParallelConfig, Precision
from slime.megatron.experts import normalise_experts
from slime.megatron.layers import block_spec
from slime.megatron.onednn import multiply_with_onednn, runs_faster_with_onednn
from slime.megatron.rotary import inverse_frequencies, scale_positions
from slime.model.architecture import Architecture
from slime.model.compute import computing_in
from slime.model.precision import dtype_of


class LanguageModel(GPTModel):  # type: ignore[misc]  # megatron-core has no types
    """A GPTModel that ends with hidden states [L, S, hidden_size], of a packed batch [T, 1, ...].

    The loss turns them into log-probs of the response tokens in chunks, so that neither the logits
    of a whole micro-batch nor those of its prompt tokens are ever made.
    """

    def _postprocess(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        if not (self.post_process and self.config.sequence_parallel):
            return hidden_states
        # Each worker goes on with all tokens and its shard of the vocabulary; the gradient that
        # comes back is whole on every worker already, so the way back only splits it.
        whole: Tensor = gather_from_sequence_parallel_region(
            hidden_states, tensor_parallel_output_grad=False
        )
        return whole

    @property
    def output_weight(self) -> Tensor:
        """[rows of the vocabulary on this rank, hidden_size]"""
        if self.share_embeddings_and_output_weights:
            weight: Tensor = self.shared_embedding_or_output_weight()
        else:
            weight = self.output_layer.weight
        return weight


def build_model(
    architecture: Architecture,
    dtype: torch.dtype,
    device: torch.device,
    parallel: ParallelConfig,
) -> LanguageModel:
    """The model with uninitialised weights; what of it is this process's, by its groups."""
    config = _transformer_config(architecture, dtype, parallel)
    model = LanguageModel(
        config,
        block_spec(config, device),
        vocab_size=architecture.vocabulary_size,
        max_sequence_length=architecture.max_positions,
        pre_process=mpu.is_pipeline_first_stage(),
        post_process=mpu.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=architecture.tied_embeddings,
        position_embedding_type="rope",
        rotary_base=architecture.rope_theta,
    )
    model.rotary_pos_emb.inv_freq = inverse_frequencies(architecture).to(device)
    _mark_shards(model)
    placed: LanguageModel = model.to(device)
    if runs_faster_with_onednn(device, dtype, config.tensor_model_parallel_size):
        multiply_with_onednn(placed)
    return placed


@contextmanager
def in_precision(precision: Precision, model: LanguageModel) -> Iterator[None]:
    """The model computes in it inside the block, with the weights that it has."""
    dtype, own = dtype_of(precision), model.config.pipeline_dtype
    with computing_in(dtype, model):
        model.config.pipeline_dtype = dtype  # of what one stage sends to the next
        try:
            yield
        finally:
            model.config.pipeline_dtype = own


def _mark_shards(model: LanguageModel) -> None:
    """Without initialisation megatron leaves out the marks by which it tells a shard from a copy.

    A weight without them is taken for a copy, and counts in the gradient norm on one worker only.
    """
    for module in model.modules():
        if isinstance(module, ColumnParallelLinear | RowParallelLinear | VocabParallelEmbedding):
            split_dimension = 1 if isinstance(module, RowParallelLinear) else 0
            if module.weight is not None:  # the output layer of a tied model has none
                set_tensor_model_parallel_attributes(module.weight, True, split_dimension, 1)


def _transformer_config(
    architecture: Architecture, dtype: torch.dtype, parallel: ParallelConfig
) -> TransformerConfig:
    config = TransformerConfig(
        num_layers=architecture.layers,
        hidden_size=architecture.hidden_size,
        num_attention_heads=architecture.attention_heads,
        num_query_groups=architecture.key_value_heads,
        kv_channels=architecture.head_size,
        ffn_hidden_size=architecture.feed_forward_size,
        normalization="RMSNorm",
        layernorm_epsilon=architecture.norm_epsilon,
        qk_layernorm=architecture.qk_norm,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        add_qkv_bias=architecture.qkv_bias,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        perform_initialization=False,  # every weight is loaded
        tensor_model_parallel_size=parallel.tensor,
        sequence_parallel=parallel.sequence and parallel.tensor > 1,
        pipeline_model_parallel_size=parallel.pipeline,
        context_parallel_size=parallel.context,
        variable_seq_lengths=parallel.pipeline > 1,  # micro-batches differ in length
        moe_token_dispatcher_type="alltoall",  # the default refuses variable lengths, MoE or not
        # The fused kernels need CUDA extensions or a compiler.
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        persist_layer_norm=False,
        cuda_graph_scope=[],  # the default is a word that megatron warns about
        **_mixture_config(architecture, parallel),
    )
    scale_positions(config, architecture.rope_scaling)
    if architecture.experts is not None:
        normalise_experts(config, architecture.experts)
    return config


def _mixture_config(architecture: Architecture, parallel: ParallelConfig) -> dict[str, Any]:
    experts = architecture.experts
    if experts is None:
        return {}
    return {
        "num_moe_experts": experts.count,
        "moe_router_topk": experts.per_token,
        "moe_ffn_hidden_size": experts.feed_forward_size,
        "moe_layer_freq": [int(experts.in_layer(n)) for n in range(architecture.layers)],
        "moe_router_pre_softmax": True,  # our router's own way; megatron refuses a single expert
        "expert_model_parallel_size": parallel.expert,
        "moe_router_load_balancing_type": "none",
        "moe_aux_loss_coeff": 0.0,
    }

"""How many parameters one train worker holds: counts, exact for every layout."""

from dataclasses import dataclass

from slime.config.schema import ParallelConfig
from slime.model.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Parameters:
    """Of one worker.  The two kinds have their copies on different workers."""

    dense: int  # the same on all data x context workers
    experts: int  # the same on data x context / expert of them

    @property
    def total(self) -> int:
        return self.dense + self.experts


def of_worker(model: Architecture, parallel: ParallelConfig, stage: int) -> Parameters:
    """Of every worker of a pipeline stage, counted from 0.  The layout must divide the model.

    A tied model in several stages has its embedding twice, on the first and on the last one: the
    output layer needs it there, and megatron keeps the two the same.
    """
    per_stage = model.layers // parallel.pipeline
    with_experts = layers_with_experts(model, parallel, stage)
    vocabulary = model.vocabulary_size * model.hidden_size // parallel.tensor
    dense = per_stage * _attention(model, parallel.tensor)
    dense += (per_stage - with_experts) * _mlp(model, parallel.tensor)
    dense += with_experts * _router(model)
    experts = with_experts * _experts(model, parallel)
    if is_first(stage):
        dense += vocabulary
    if is_last(parallel, stage):
        dense += model.hidden_size
        own_output = not model.tied_embeddings or parallel.pipeline > 1
        dense += vocabulary if own_output else 0
    return Parameters(dense, experts)


def of_model(model: Architecture) -> int:
    """Of the whole model, a tied output layer counted once."""
    return of_worker(model, ParallelConfig(), 0).total


def active_of_model(model: Architecture) -> int:
    """Those that one token goes through: all of them, but of the experts only its own."""
    if model.experts is None:
        return of_model(model)
    whole = of_worker(model, ParallelConfig(), 0)
    return whole.dense + whole.experts * model.experts.per_token // model.experts.count


def layers_with_experts(model: Architecture, parallel: ParallelConfig, stage: int) -> int:
    """How many of a pipeline stage's layers have them."""
    if model.experts is None:
        return 0
    per_stage = model.layers // parallel.pipeline
    first = stage * per_stage
    dense = sum(first <= layer < first + per_stage for layer in model.experts.dense_layers)
    return per_stage - dense


def is_first(stage: int) -> bool:
    return stage == 0


def is_last(parallel: ParallelConfig, stage: int) -> bool:
    return stage == parallel.pipeline - 1


def _attention(model: Architecture, tensor: int) -> int:
    """And the norms of a layer: projections are split, norms are copied."""
    width, head = model.hidden_size, model.head_size
    query_rows = model.attention_heads * head
    qkv_rows = query_rows + 2 * model.key_value_heads * head
    split = qkv_rows * width + width * query_rows
    split += qkv_rows if model.qkv_bias else 0
    return split // tensor + 2 * width + (2 * head if model.qk_norm else 0)


def _mlp(model: Architecture, tensor: int) -> int:
    return 3 * model.feed_forward_size * model.hidden_size // tensor


def _router(model: Architecture) -> int:
    return 0 if model.experts is None else model.experts.count * model.hidden_size


def _experts(model: Architecture, parallel: ParallelConfig) -> int:
    if model.experts is None:
        return 0
    one = 3 * model.experts.feed_forward_size * model.hidden_size
    return model.experts.count // parallel.expert * one // parallel.tensor

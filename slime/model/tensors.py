"""The tensors that a model folder must hold, by the names that the families share in their files.

Standard library only.
"""

from collections.abc import Iterator

from slime.model.architecture import Architecture

Shape = tuple[int, ...]


def tensor_shapes(model: Architecture) -> Iterator[tuple[str, Shape]]:
    """Every tensor of the model, once: a tied output layer is the embedding."""
    width = model.hidden_size
    yield "model.embed_tokens.weight", (model.vocabulary_size, width)
    for layer in range(model.layers):
        for name, shape in (*_layer_shapes(model), *_mlp_shapes(model, layer)):
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (width,)
    if not model.tied_embeddings:
        yield "lm_head.weight", (model.vocabulary_size, width)


def _layer_shapes(model: Architecture) -> Iterator[tuple[str, Shape]]:
    width = model.hidden_size
    queries = model.attention_heads * model.head_size
    keys = model.key_value_heads * model.head_size
    for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
        yield f"self_attn.{name}.weight", (rows, width)
        if model.qkv_bias:
            yield f"self_attn.{name}.bias", (rows,)
    yield "self_attn.o_proj.weight", (width, queries)
    if model.qk_norm:
        yield "self_attn.q_norm.weight", (model.head_size,)
        yield "self_attn.k_norm.weight", (model.head_size,)
    yield "input_layernorm.weight", (width,)
    yield "post_attention_layernorm.weight", (width,)


def _mlp_shapes(model: Architecture, layer: int) -> Iterator[tuple[str, Shape]]:
    experts, width = model.experts, model.hidden_size
    if experts is None or not experts.in_layer(layer):
        yield from _projections("mlp", width, model.feed_forward_size)
        return
    yield "mlp.gate.weight", (experts.count, width)
    for expert in range(experts.count):
        yield from _projections(f"mlp.experts.{expert}", width, experts.feed_forward_size)


def _projections(name: str, width: int, rows: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.gate_proj.weight", (rows, width)
    yield f"{name}.up_proj.weight", (rows, width)
    yield f"{name}.down_proj.weight", (width, rows)

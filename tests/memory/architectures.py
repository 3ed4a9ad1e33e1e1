"""Small architectures in which no two sizes are equal."""

from dataclasses import replace

from slime.model.architecture import Architecture
from slime.model.experts import Experts

QWEN3 = Architecture(
    family="qwen3",
    layers=4,
    hidden_size=48,
    attention_heads=12,
    key_value_heads=4,
    head_size=20,
    feed_forward_size=72,
    vocabulary_size=96,
    max_positions=4096,
    rope_theta=500.0,
    norm_epsilon=1e-5,
    tied_embeddings=False,
    qkv_bias=False,
    qk_norm=True,
)
LLAMA = replace(QWEN3, family="llama", qk_norm=False, tied_embeddings=True)
QWEN2 = replace(LLAMA, family="qwen2", qkv_bias=True)
MIXTURE = replace(
    QWEN3, family="qwen3_moe", experts=Experts(8, 2, 24, normalised=True, dense_layers=())
)
PARTLY = replace(MIXTURE, experts=Experts(8, 2, 24, normalised=True, dense_layers=(0, 3)))

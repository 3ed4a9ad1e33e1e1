"""The small copy of an architecture is a model for transformers and for the trainer."""

import pytest
import torch
from tiny_models import write_tiny_model
from transformers import AutoModelForCausalLM

from slime.config.schema import ParallelConfig
from slime.model.architecture import FAMILIES, Architecture, read_architecture
from slime.model.shrink import shrunken, write_random_model

LAYOUTS = [ParallelConfig(), ParallelConfig(tensor=2, pipeline=2), ParallelConfig(tensor=3)]

SMOLLM2 = Architecture(
    family="llama", layers=30, hidden_size=576, attention_heads=9, key_value_heads=3, head_size=64,
    feed_forward_size=1536, vocabulary_size=49152, max_positions=8192, rope_theta=1e5,
    norm_epsilon=1e-5, tied_embeddings=True, qkv_bias=False, qk_norm=False,
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("parallel", LAYOUTS, ids=["1", "tensor=2 pipeline=2", "tensor=3"])
def test_transformers_and_the_trainer_read_the_same_model(family, parallel, tmp_path):
    original = read_architecture(write_tiny_model(tmp_path / "original", family))
    small = shrunken(original, parallel)
    write_random_model(small, 0, tmp_path / "small")
    assert read_architecture(tmp_path / "small") == small

    model, found = AutoModelForCausalLM.from_pretrained(
        tmp_path / "small", output_loading_info=True, experts_implementation="eager"
    )
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert type(model).__name__.lower().startswith(family.replace("_", ""))
    assert model(torch.arange(9)[None]).logits.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_makes_an_architecture_is_kept(family, tmp_path):
    original = read_architecture(write_tiny_model(tmp_path / "original", family))
    small = shrunken(original, ParallelConfig())
    for name in (
        "family", "tied_embeddings", "qkv_bias", "qk_norm", "rope_theta", "rope_scaling",
        "norm_epsilon", "max_positions",
    ):  # fmt: skip
        assert getattr(small, name) == getattr(original, name)
    as_wide = original.attention_heads * original.head_size == original.hidden_size
    assert (small.attention_heads * small.head_size == small.hidden_size) == as_wide


@pytest.mark.parametrize("parallel", LAYOUTS, ids=["1", "tensor=2 pipeline=2", "tensor=3"])
def test_the_sizes_are_small_and_fit_the_layout(parallel):
    small = shrunken(SMOLLM2, parallel)
    for size in (
        small.attention_heads, small.key_value_heads, small.feed_forward_size,
        small.vocabulary_size,
    ):  # fmt: skip
        assert size % parallel.tensor == 0
    assert small.layers % parallel.pipeline == 0
    assert small.layers // parallel.pipeline == 2
    assert small.attention_heads == 3 * small.key_value_heads  # grouped as before
    assert small.hidden_size <= 256


def test_a_vocabulary_is_never_larger_than_the_model_s(tmp_path):
    original = read_architecture(write_tiny_model(tmp_path / "original", "llama"))
    assert shrunken(original, ParallelConfig(tensor=5)).vocabulary_size == 95  # of 96


def test_every_parameter_has_a_say_in_the_output(tmp_path):
    write_random_model(shrunken(SMOLLM2, ParallelConfig()), 0, tmp_path / "small")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "small", dtype=torch.float64)
    tokens = torch.arange(40) * 7 % 199
    model(tokens[None]).logits[0].log_softmax(-1)[:-1].gather(
        -1, tokens[1:, None]
    ).mean().backward()
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    assert min(norms.values()) > max(norms.values()) / 500, norms


def test_equal_seeds_give_equal_models(tmp_path):
    small = shrunken(SMOLLM2, ParallelConfig())
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_random_model(small, seed, tmp_path / name)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c

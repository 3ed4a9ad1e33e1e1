"""A folder whose weights are not what its config.json says is refused before anything is loaded."""

import pytest
import safetensors.torch
import torch
from tiny_models import tiny_weights, write_tiny_model

from slime.config.schema import ConfigError
from slime.megatron.convert import _check
from slime.megatron.weights_folder import open_weights
from slime.model.architecture import read_architecture


@pytest.fixture
def folder(tmp_path):
    """A tied mixture of experts."""
    return write_tiny_model(tmp_path / "moe", "qwen3_moe", tie_word_embeddings=True)


def check(folder, **changes):
    weights = tiny_weights("qwen3_moe", tie_word_embeddings=True)
    weights |= {name: tensor for name, tensor in changes.items() if tensor is not None}
    kept = {name: t for name, t in weights.items() if changes.get(name, t) is not None}
    safetensors.torch.save_file(kept, folder / "model.safetensors")
    with open_weights(folder) as opened:
        _check(opened, read_architecture(folder))


def test_the_whole_model_is_fine_and_an_embedding_that_is_there_twice_too(folder):
    check(folder)
    embedding = tiny_weights("qwen3_moe", tie_word_embeddings=True)["model.embed_tokens.weight"]
    check(folder, **{"lm_head.weight": embedding.clone()})


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("model.layers.1.mlp.experts.3.up_proj.weight", None, "lacks tensors .*experts.3.up_proj"),
        ("model.layers.0.mlp.gate.weight", None, "lacks tensors .*layers.0.mlp.gate.weight"),
        ("model.layers.1.mlp.experts.4.up_proj.weight", torch.ones(1), "does not ask for: .*4.up"),
        ("model.layers.0.mlp.gate.weight", torch.ones(3, 48), r"\[3, 48\] instead of \[4, 48\]"),
    ],
)
def test_experts_that_are_missing_too_many_or_of_another_shape_are_named(
    name, tensor, said, folder
):
    with pytest.raises(ConfigError, match=said) as error:
        check(folder, **{name: tensor})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [lambda w: w[:-1], lambda w: w + 1])
def test_a_tied_model_with_an_output_of_its_own_is_refused(change, folder):
    """transformers keeps both then, and would answer with another model than the trainer has."""
    embedding = tiny_weights("qwen3_moe", tie_word_embeddings=True)["model.embed_tokens.weight"]
    with pytest.raises(ConfigError, match="tie_word_embeddings=true: write false there"):
        check(folder, **{"lm_head.weight": change(embedding).contiguous()})

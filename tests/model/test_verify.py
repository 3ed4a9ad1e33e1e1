"""A trainer that has another model than transformers is found out before it trains."""

import json
from functools import partial

import pytest
import safetensors.torch
import torch
from tiny_models import write_tiny_model

from slime.config.schema import ConfigError, PathModel, Precision, SmolLM2Model
from slime.model import verify as module
from slime.model.verify import is_verified, logits_of_transformers, verify, verify_checkpoint
from slime.rollout.local import LocalEngine

FLOAT32, BFLOAT16 = Precision.float32, Precision.bfloat16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models") / "llama", "llama")


def engine(folder, weights=FLOAT32, precision=FLOAT32):
    return partial(LocalEngine(str(folder), 1, weights).logits, precision=precision)


@pytest.mark.parametrize(
    "family",
    ["qwen3_moe", *(pytest.param(f, marks=pytest.mark.slow) for f in ("llama", "qwen2", "qwen3"))],
)
def test_a_process_of_its_own_says_what_the_engine_says(family, tmp_path):
    folder = write_tiny_model(tmp_path / family, family)
    for weights in (FLOAT32, BFLOAT16):
        alone = logits_of_transformers(folder, weights, FLOAT32)
        verify(folder, engine(folder, weights), alone, FLOAT32)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": 510.0},
        {"rms_norm_eps": 1e-3},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 1.01}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_a_small_difference_of_the_model_is_a_line_that_says_by_how_much(changes, folder, tmp_path):
    other = write_tiny_model(tmp_path / "other", "llama", **changes)
    with pytest.raises(
        ConfigError, match=r"differ by \d.\de.\d+ of their size .*verify=false"
    ) as e:
        verify(folder, engine(other), engine(folder), FLOAT32)
    assert "\n" not in str(e.value)


def test_bfloat16_weights_are_compared_in_float32(folder, tmp_path):
    verify(folder, engine(folder, BFLOAT16), engine(folder, BFLOAT16), FLOAT32)
    other = write_tiny_model(tmp_path / "other", "llama", rms_norm_eps=1e-4)
    with pytest.raises(ConfigError):
        verify(folder, engine(other, BFLOAT16), engine(folder, BFLOAT16), FLOAT32)


# The model that a bfloat16 comparison of all logits refuses, though nothing is wrong with it.
MIXTURE = {"num_hidden_layers": 3, "max_position_embeddings": 512}


def write_wrong_mixture(folder, wrong):
    """`folder` holds the right one."""
    other = write_tiny_model(folder.parent / wrong, "qwen3_moe", **MIXTURE)
    weights = safetensors.torch.load_file(other / "model.safetensors")
    config = json.loads((other / "config.json").read_text())
    match wrong:
        case "experts":
            for kind in ("gate", "up", "down"):
                one, two = (f"model.layers.2.mlp.experts.{n}.{kind}_proj.weight" for n in (0, 1))
                weights[one], weights[two] = weights[two], weights[one]
        case "norm_topk_prob":
            config["norm_topk_prob"] = not config["norm_topk_prob"]
        case "rope_theta":
            config["rope_theta"] *= 10
        case "transposed":
            name = "model.layers.2.mlp.experts.0.down_proj.weight"
            weights[name] = weights[name].T.reshape(weights[name].shape)
    safetensors.torch.save_file(
        {name: tensor.clone() for name, tensor in weights.items()}, other / "model.safetensors"
    )
    (other / "config.json").write_text(json.dumps(config))
    return other


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("mixtures") / "right", "qwen3_moe", **MIXTURE)


@pytest.mark.parametrize("wrong", ["experts", "norm_topk_prob", "rope_theta", "transposed"])
@pytest.mark.parametrize("weights", [FLOAT32, BFLOAT16])
def test_a_mixture_that_is_wrong_in_one_place_is_found(wrong, weights, mixture):
    other = mixture.parent / wrong
    if not other.exists():
        write_wrong_mixture(mixture, wrong)
    with pytest.raises(ConfigError, match="differ by"):
        verify(mixture, engine(other, weights), engine(mixture, weights), FLOAT32)


def test_in_bfloat16_tokens_that_go_to_other_experts_do_not_count(mixture):
    """Where nothing else can be computed in: routing follows from rounding there."""

    def rerouted(sequences):
        found = engine(mixture, BFLOAT16, BFLOAT16)(sequences)
        for logits_TV in found:
            logits_TV[::3] = logits_TV[::3].roll(1, dims=-1)
        return found

    verify(mixture, rerouted, engine(mixture, BFLOAT16), BFLOAT16)
    with pytest.raises(ConfigError, match="differ by"):
        verify(mixture, rerouted, engine(mixture, BFLOAT16), FLOAT32)
    other = write_tiny_model(mixture.parent / "base", "qwen3_moe", **MIXTURE, rope_theta=1e6)
    with pytest.raises(ConfigError, match="differ by"):
        verify(mixture, engine(other, BFLOAT16, BFLOAT16), engine(mixture, BFLOAT16), BFLOAT16)


def test_a_checkpoint_that_is_not_what_the_engine_got_is_told_by_its_name(folder, tmp_path):
    at = tmp_path / "iteration-000004"
    verify_checkpoint(at, folder, engine(folder), engine(folder), FLOAT32)
    other = write_tiny_model(tmp_path / "other", "llama", seed=1)
    with pytest.raises(ConfigError) as error:
        verify_checkpoint(at, folder, engine(other), engine(folder), FLOAT32)
    assert f"after reading the checkpoint {at} the trainer's logits are not" in str(error.value)
    assert "config.json" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_trainer_that_says_nan_is_found_out(folder):
    def nan(sequences):
        return [torch.full((len(tokens), 96), float("nan")) for tokens in sequences]

    with pytest.raises(ConfigError, match="differ by nan"):
        verify(folder, nan, engine(folder), FLOAT32)


def test_weights_that_are_broken_are_told_from_a_trainer_that_is(folder):
    def nan(sequences):
        return [torch.full((len(tokens), 96), float("nan")) for tokens in sequences]

    with pytest.raises(ConfigError, match="in transformers, too: its weights are broken"):
        verify(folder, nan, nan, FLOAT32)


def test_what_transformers_cannot_run_is_one_line(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"transformers cannot run .*empty") as error:
        logits_of_transformers(empty, FLOAT32, FLOAT32)([[1]])
    assert "\n" not in str(error.value)


def test_small_models_are_verified_and_others_on_request(folder, monkeypatch):
    def decided(verify):
        return is_verified(PathModel(path=str(folder), verify=verify), folder)

    assert (decided(None), decided(True), decided(False)) == (True, True, False)
    monkeypatch.setattr(module, "SMALL", 1000)
    assert (decided(None), decided(True), decided(False)) == (False, True, False)
    assert SmolLM2Model().verify is None

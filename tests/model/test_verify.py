"""A trainer that has another model than transformers is found out before it trains."""

import pytest
import torch
from tiny_models import write_tiny_model

from slime.config.schema import ConfigError, PathModel, Precision, SmolLM2Model
from slime.model import verify as module
from slime.model.verify import is_verified, logits_of_transformers, verify
from slime.rollout.local import LocalEngine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models") / "llama", "llama")


def engine(folder):
    return LocalEngine(str(folder), 1, Precision.float32).logits


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "qwen3_moe"])
def test_a_process_of_its_own_says_what_the_engine_says(family, tmp_path):
    folder = write_tiny_model(tmp_path / family, family)
    verify(
        folder, Precision.float32, engine(folder), logits_of_transformers(folder, Precision.float32)
    )


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
        verify(folder, Precision.float32, engine(other), engine(folder))
    assert "\n" not in str(e.value)


def test_rounding_of_bfloat16_is_no_difference_and_another_model_is_one(folder, tmp_path):
    def rounded(sequences):
        return LocalEngine(str(folder), 1, Precision.bfloat16).logits(sequences)

    verify(folder, Precision.bfloat16, rounded, engine(folder))
    other = write_tiny_model(tmp_path / "other", "llama", rope_theta=1000.0)
    with pytest.raises(ConfigError):
        verify(folder, Precision.bfloat16, engine(other), engine(folder))


def test_a_trainer_that_says_nan_is_found_out(folder):
    def nan(sequences):
        return [torch.full((len(tokens), 96), float("nan")) for tokens in sequences]

    with pytest.raises(ConfigError, match="differ by nan"):
        verify(folder, Precision.float32, nan, engine(folder))


def test_weights_that_are_broken_are_told_from_a_trainer_that_is(folder):
    def nan(sequences):
        return [torch.full((len(tokens), 96), float("nan")) for tokens in sequences]

    with pytest.raises(ConfigError, match="in transformers, too: its weights are broken"):
        verify(folder, Precision.float32, nan, nan)


def test_what_transformers_cannot_run_is_one_line(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"transformers cannot run .*empty") as error:
        logits_of_transformers(empty, Precision.float32)([[1]])
    assert "\n" not in str(error.value)


def test_small_models_are_verified_and_others_on_request(folder, monkeypatch):
    def decided(verify):
        return is_verified(PathModel(path=str(folder), verify=verify), folder)

    assert (decided(None), decided(True), decided(False)) == (True, True, False)
    monkeypatch.setattr(module, "SMALL", 1000)
    assert (decided(None), decided(True), decided(False)) == (False, True, False)
    assert SmolLM2Model().verify is None

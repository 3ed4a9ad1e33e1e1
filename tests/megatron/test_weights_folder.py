"""Reading safetensors folders, one file or many; nothing else is read."""

import json

import pytest
import safetensors.torch
import torch

from slime.config.schema import ConfigError
from slime.megatron.weights_folder import open_weights

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4), "c": torch.zeros(1)}


def write_shards(folder, shards):
    index = {}
    for i, names in enumerate(shards):
        file = f"model-{i}.safetensors"
        safetensors.torch.save_file({name: WEIGHTS[name] for name in names}, folder / file)
        index.update(dict.fromkeys(names, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


@pytest.mark.parametrize("shards", [None, [["a", "c"], ["b"]]], ids=["one file", "two files"])
def test_every_tensor_is_found_with_its_shape_and_values(shards, tmp_path):
    if shards is None:
        safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    else:
        write_shards(tmp_path, shards)
    with open_weights(tmp_path) as weights:
        assert weights.names() == frozenset(WEIGHTS)
        for name, tensor in WEIGHTS.items():
            assert weights.shape(name) == tuple(tensor.shape)
            assert torch.equal(weights.tensor(name).part(0, 0, len(tensor)), tensor)


def error_of(folder):
    with pytest.raises(ConfigError) as raised, open_weights(folder):
        pass
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    return str(raised.value)


def test_a_pickle_is_never_read(tmp_path):
    torch.save(WEIGHTS, tmp_path / "pytorch_model.bin")
    assert "safetensors only" in error_of(tmp_path)


def test_a_file_that_the_index_names_must_be_there(tmp_path):
    write_shards(tmp_path, [["a"], ["b"]])
    (tmp_path / "model-1.safetensors").unlink()
    assert "model-1.safetensors cannot be read" in error_of(tmp_path)


def test_a_file_that_is_cut_short_is_an_error(tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-4])
    assert "model.safetensors cannot be read" in error_of(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', "{}"])
def test_an_index_that_is_none_is_an_error(text, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert "weight_map" in error_of(tmp_path)


def test_a_single_file_beside_an_index_of_others_is_an_error(tmp_path):
    write_shards(tmp_path, [["a", "c"], ["b"]])
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert "stand for different weights (model-0.safetensors)" in error_of(tmp_path)


def test_a_tensor_in_two_files_is_an_error(tmp_path):
    """Which one counts differs from program to program."""
    write_shards(tmp_path, [["a", "c"], ["b", "a"]])
    assert "model-1.safetensors holds 'a', which another file" in error_of(tmp_path)

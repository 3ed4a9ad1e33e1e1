"""Pickled weights become safetensors, and their code never runs."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_weights, write_tiny_model

from slime.config.schema import ConfigError, PathModel
from slime.model.check import problems
from slime.model.unpickle import main, unpickle


@pytest.fixture
def folder(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "llama")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").unlink()
    return folder


def test_one_file_becomes_one_file(folder):
    torch.save(tiny_weights("llama"), folder / "pytorch_model.bin")
    assert main([str(folder)]) == 0
    assert same(load_file(folder / "model.safetensors"), tiny_weights("llama"))
    assert list(problems(PathModel(path=str(folder)))) == []


def test_several_files_become_as_many_and_an_index(folder):
    weights = tiny_weights("llama")
    names = sorted(weights)
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = folder / f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: weights[name] for name in part}, file)
    unpickle(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    found = {}
    for file in set(index.values()):
        found |= load_file(folder / file)
    assert same(found, weights)
    assert list(problems(PathModel(path=str(folder)))) == []


def test_names_that_share_a_tensor_are_kept(folder):
    weights = tiny_weights("llama", tie_word_embeddings=True)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    torch.save(weights, folder / "pytorch_model.bin")
    unpickle(folder)
    assert same(load_file(folder / "model.safetensors"), weights)


class Attack:
    def __reduce__(self):
        return os.system, (f"touch {os.environ['ATTACKED']}",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_the_code_in_a_pickle_does_not_run(name, folder, monkeypatch, capsys):
    monkeypatch.setenv("ATTACKED", str(folder / "attacked"))
    torch.save({"w": torch.ones(2), "x": Attack()}, folder / name)
    assert main([str(folder)]) == 2
    assert "cannot be read as bare tensors" in capsys.readouterr().err
    assert not (folder / "attacked").exists()
    assert not list(folder.glob("*.safetensors"))
    torch.load(folder / name, weights_only=False)
    assert (folder / "attacked").exists(), "the pickle must be a real attack"


@pytest.mark.parametrize("content", [{"w": 1}, {"w": [torch.ones(1)]}])
def test_what_is_no_dictionary_of_tensors_is_refused(content, folder):
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="'w', which is not a tensor"):
        unpickle(folder)


def test_a_plain_pickle_and_a_folder_without_any_are_one_line(folder):
    with pytest.raises(ConfigError, match=r"has no \*\.bin or"):
        unpickle(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(ConfigError) as error:
        unpickle(folder)
    assert "\n" not in str(error.value)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)

"""Which pickles become safetensors: all of a model's weights, or nothing is left."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_weights, write_tiny_model

from slime.config.schema import ConfigError, PathModel
from slime.model import unpickle as module
from slime.model.check import problems
from slime.model.unpickle import main, unpickle

WEIGHTS = tiny_weights("llama")


@pytest.fixture
def folder(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "llama")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").unlink()
    return folder


def test_one_file_becomes_one_file(folder):
    torch.save(WEIGHTS, folder / "pytorch_model.bin")
    assert main([str(folder)]) == 0
    assert same(load_file(folder / "model.safetensors"), WEIGHTS)
    assert list(problems(PathModel(path=str(folder)))) == []


def test_several_files_become_as_many_and_an_index(folder):
    write_parts(folder)
    unpickle(folder)
    assert same(converted(folder), WEIGHTS)
    assert list(problems(PathModel(path=str(folder)))) == []


def test_a_pickle_from_before_torch_1_6_is_read(folder):
    file = folder / "pytorch_model.bin"
    torch.save(WEIGHTS, file, _use_new_zipfile_serialization=False)
    unpickle(folder)
    assert same(load_file(folder / "model.safetensors"), WEIGHTS)


def test_who_may_read_the_pickles_may_read_the_new_files(folder):
    write_parts(folder)
    for file in folder.glob("*.bin"):
        file.chmod(0o640)
    unpickle(folder)
    assert {file.stat().st_mode & 0o777 for file in folder.glob("*.safetensors")} == {0o640}


# ---- which files ----

TRAINER = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth")


@pytest.fixture
def beside(folder):
    """What a trainer leaves there, and weights under the names of their author."""
    for name in TRAINER:
        torch.save({"state": {0: 1}}, folder / name)
    torch.save({"tok_embeddings.weight": torch.ones(2)}, folder / "consolidated.00.pth")


@pytest.mark.usefixtures("beside")
def test_beside_pytorch_model_other_pickles_do_not_count(folder):
    torch.save(WEIGHTS, folder / "pytorch_model.bin")
    unpickle(folder)
    assert same(load_file(folder / "model.safetensors"), WEIGHTS)


@pytest.mark.usefixtures("beside")
def test_beside_an_index_other_pickles_do_not_count(folder):
    write_index(folder, write_parts(folder))
    torch.save({"other": torch.ones(1)}, folder / "pytorch_model-00003-of-00003.bin")
    unpickle(folder)
    assert same(converted(folder), WEIGHTS)


def test_without_either_the_state_of_a_trainer_is_left_out(folder):
    for name in TRAINER:
        torch.save({"state": 1}, folder / name)
    with pytest.raises(ConfigError, match=r"has no \*\.bin or \*\.pt or \*\.pth of weights"):
        unpickle(folder)
    torch.save(WEIGHTS, folder / "model.pt")
    unpickle(folder)
    assert same(load_file(folder / "model.safetensors"), WEIGHTS)


@pytest.mark.parametrize("name", ["../other.bin", "/etc/x.bin", "x.safetensors", 5, "", "a\nb.bin"])
def test_an_index_names_pickles_of_its_own_folder_only(name, folder):
    torch.save(WEIGHTS, folder.parent / "other.bin")
    write_index(folder, {"a": name})
    assert "file of this folder" in refused(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not a readable index of weights"),
        ('{"weight_map": {}}', "is not a readable index of weights"),
        ('{"weight_map": {"a": "gone.bin"}}', "names gone.bin, which is not there"),
    ],
)
def test_an_index_that_is_none_is_refused(text, said, folder):
    torch.save(WEIGHTS, folder / "other.bin")
    (folder / "pytorch_model.bin.index.json").write_text(text)
    assert said in refused(folder)
    [line] = problems(PathModel(path=str(folder)))
    assert "has no *.safetensors file" in line
    assert said in line


def test_pytorch_model_beside_an_index_of_others_is_refused(folder):
    write_index(folder, write_parts(folder))
    torch.save(WEIGHTS, folder / "pytorch_model.bin")
    assert "stand for different weights" in refused(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.safetensors.index.json", "x.safetensors"]
)
def test_safetensors_that_are_there_are_not_touched(name, folder):
    torch.save(WEIGHTS, folder / "pytorch_model.bin")
    (folder / name).write_text("old")
    assert f"has {name} already" in refused(folder)
    assert (folder / name).read_text() == "old"


# ---- all or nothing ----


def test_when_the_second_of_two_files_is_broken_nothing_is_left(folder):
    write_parts(folder)
    (folder / "pytorch_model-00002-of-00002.bin").write_bytes(b"")
    assert "is empty" in refused(folder)


def test_a_tensor_in_two_files_is_refused(folder):
    for name in ("a.bin", "b.bin"):
        torch.save({"w": torch.ones(1)}, folder / name)
    assert "b.bin holds 'w', which another file holds too" in refused(folder)


def test_when_the_disk_fails_nothing_is_left(folder, monkeypatch):
    write_parts(folder)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.json, "dumps", full)
    assert "cannot be written to: No space left on device" in refused(folder)


def test_when_the_last_name_cannot_be_given_the_others_are_taken_back(folder, monkeypatch):
    write_parts(folder)
    rename = module.Path.rename

    def fails_at_the_index(path, target):
        if target.name.endswith(".json"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(module.Path, "rename", fails_at_the_index)
    assert "Input/output error" in refused(folder)


def test_a_folder_that_is_none_is_one_line(folder):
    assert main([str(folder / "nowhere")]) == 2
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        unpickle(folder / "nowhere")


def write_parts(folder):
    names, weight_map = sorted(WEIGHTS), {}
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: WEIGHTS[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    return weight_map


def write_index(folder, weight_map):
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))


def converted(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    found = {}
    for file in set(index.values()):
        tensors = load_file(folder / file)
        assert all(index[name] == file for name in tensors)
        found |= tensors
    assert found.keys() == index.keys()
    return found


def refused(folder):
    """The message; the folder is what it was."""
    before = sorted(folder.iterdir())
    with pytest.raises(ConfigError) as error:
        unpickle(folder)
    assert sorted(folder.iterdir()) == before
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 400
    return line


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)

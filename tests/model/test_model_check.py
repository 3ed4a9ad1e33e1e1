import json
import subprocess
import sys

import pytest
from tiny_models import write_tiny_model

from slime.config.schema import PathModel, SmolLM2Model, TinyModel
from slime.model.check import problems


@pytest.fixture
def folder(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "llama")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def found(folder):
    return list(problems(PathModel(path=str(folder))))


def test_a_complete_folder_and_the_built_in_models_have_no_problems(folder):
    assert found(folder) == []
    assert list(problems(TinyModel())) == []
    assert list(problems(SmolLM2Model())) == []


def test_a_missing_folder_is_one_problem(tmp_path):
    [problem] = found(tmp_path / "nowhere")
    assert "nowhere is not a folder" in problem


def test_every_problem_of_an_empty_folder_is_named(tmp_path):
    config, weights, tokenizer = found(tmp_path)
    assert "config.json" in config
    assert "*.safetensors" in weights
    assert "tokenizer.json" in tokenizer


def test_pickled_weights_are_refused_with_what_to_do(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    [problem] = found(folder)
    assert "pytorch_model.bin, a pickle" in problem
    assert "save_pretrained" in problem


def test_a_git_lfs_pointer_is_recognised(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    [problem] = found(folder)
    assert "git lfs pull" in problem


def test_a_shard_that_is_not_there_is_named(folder):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    [problem] = found(folder)
    assert "lacks model-00002.safetensors" in problem


def test_an_unsupported_architecture_is_named(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"model_type": "gpt2"}))
    [problem] = found(folder)
    assert "'gpt2'" in problem


def test_the_checks_before_a_run_import_nothing_heavy():
    code = (
        "import sys, slime.model.check, slime.task.check, slime.reward.check\n"
        "print({'torch', 'transformers', 'safetensors', 'ray'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

import json
import subprocess
import sys

import pytest
from tiny_models import write_tiny_model

from slime.config.groups import BY_NAME
from slime.config.schema import (
    NamedPathModel,
    PathModel,
    Qwen3Medium,
    Qwen3Mixture,
    Qwen3Small,
    Qwen25Small,
    SmolLM2Model,
    TinyModel,
)
from slime.model.check import _FAMILIES, problems


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
    assert problem.endswith(f"convert it with python -m slime.model.unpickle {folder}")


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


def test_a_preset_wants_a_folder_of_its_family(folder):
    assert list(problems(Qwen3Small(path=str(folder)))) == [
        f"model.path: {folder} holds a llama model, and model=qwen3_0_6b is a qwen3: write "
        f"model=path, or give the folder of that model"
    ]


@pytest.mark.parametrize(
    ("preset", "family"),
    [
        (Qwen25Small, "qwen2"), (Qwen3Small, "qwen3"), (Qwen3Medium, "qwen3"),
        (Qwen3Mixture, "qwen3_moe"),
    ],
)  # fmt: skip
def test_every_preset_takes_a_folder_of_its_family(preset, family, tmp_path):
    folder = write_tiny_model(tmp_path / family, family)
    (folder / "tokenizer.json").write_text("{}")
    assert list(problems(preset(path=str(folder)))) == []


def test_every_preset_has_a_family():
    presets = {name for name, schema in choices("model") if issubclass(schema, NamedPathModel)}
    assert presets == set(_FAMILIES)


def choices(group):
    return [(choice.name, choice.schema) for choice in BY_NAME[group].choices]

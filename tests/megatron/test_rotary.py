"""Scaled rotary positions against those of transformers, bit for bit."""

import json

import pytest
import torch
from rope_scalings import SCALINGS
from tiny_models import write_tiny_model
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from slime.megatron.rotary import inverse_frequencies
from slime.model.architecture import read_architecture
from slime.model.rope import YarnRope

REAL = (
    # Llama 3.1, Llama 3.2, and what Qwen3 recommends for long texts
    {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0,
     "original_max_position_embeddings": 32768},
)  # fmt: skip


@pytest.mark.parametrize("head_size", [12, 128])
@pytest.mark.parametrize("scaling", [*SCALINGS, *REAL], ids=lambda s: s["rope_type"])
def test_frequencies_and_attention_factor_are_those_of_transformers(scaling, head_size, tmp_path):
    folder = write_tiny_model(
        tmp_path / "model", "llama", rope_parameters=scaling, rope_theta=None, head_dim=head_size
    )
    architecture = read_architecture(folder)
    config = AutoConfig.from_pretrained(folder)
    expected, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu")
    assert torch.equal(inverse_frequencies(architecture), expected)
    found = architecture.rope_scaling
    assert (found.attention_factor if isinstance(found, YarnRope) else 1.0) == factor


def test_the_cases_differ(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "llama")
    config = json.loads((folder / "config.json").read_text())
    different = set()
    for scaling in SCALINGS:
        (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": scaling}))
        different.add(tuple(inverse_frequencies(read_architecture(folder)).tolist()))
    assert len(different) == len(SCALINGS) - 1  # mscale changes the attention factor only

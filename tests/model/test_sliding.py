"""Sliding windows: refused exactly where attention in transformers would slide."""

import json

import pytest
from tiny_models import write_tiny_model
from transformers import AutoConfig

from slime.config.schema import ConfigError
from slime.model.architecture import read_architecture

IN_USE = {"use_sliding_window": True, "sliding_window": 32}
FULL = ["full_attention"] * 2
CASES = [
    {},
    {"use_sliding_window": False, "sliding_window": 32, "max_window_layers": 0},
    IN_USE,  # max_window_layers is 28 then
    {"use_sliding_window": True, "max_window_layers": 0},
    *(IN_USE | {"max_window_layers": first} for first in (0, 1, 2, 3)),
    {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
    IN_USE | {"max_window_layers": 0, "layer_types": FULL},
    IN_USE | {"layer_types": ["full_attention", "sliding_attention"]},
    {"layer_types": FULL},
]


def slides_in_transformers(folder):
    config = AutoConfig.from_pretrained(folder)
    if config.model_type == "qwen3_moe":  # asks nothing else
        return config.sliding_window is not None
    return "sliding_attention" in config.layer_types


@pytest.mark.parametrize("changes", CASES, ids=json.dumps)
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "qwen3_moe"])
def test_a_model_is_refused_when_its_attention_slides(family, changes, tmp_path):
    folder = write_tiny_model(tmp_path / "model", family)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    if not slides_in_transformers(folder):
        read_architecture(folder)
        return
    with pytest.raises(ConfigError, match=r"use_sliding_window=true with|layer_types\[1\] is"):
        read_architecture(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            IN_USE | {"max_window_layers": 1},
            "use_sliding_window=true with sliding_window=32: attention slides in the layers from 1 "
            "on, which is not supported",
        ),
        (
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types[1] is 'sliding_attention'; only 'full_attention' is supported",
        ),
        (
            {"layer_types": ["full_attention"]},
            "layer_types has 1 layers and num_hidden_layers=2: they must agree",
        ),
        ({"max_window_layers": None}, "max_window_layers must be an integer >= 0, got None"),
        ({"sliding_window": "x"}, "sliding_window must be an integer or null, got 'x'"),
    ],
)
def test_the_field_and_its_value_are_named(changes, said, tmp_path):
    folder = write_tiny_model(tmp_path / "model", "qwen2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ConfigError) as error:
        read_architecture(folder)
    assert str(error.value) == f"model.path: {folder}/config.json: {said}"

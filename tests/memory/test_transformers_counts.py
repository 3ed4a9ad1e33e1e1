"""A whole model has as many parameters as transformers gives it."""

import pytest
import torch
from memory.architectures import LLAMA, MIXTURE, PARTLY, QWEN2, QWEN3
from memory.published import QWEN3_30B_A3B, write_qwen3_30b_a3b
from transformers import AutoConfig, AutoModelForCausalLM

from slime.memory.parameters import of_model
from slime.model.architecture import read_architecture
from slime.model.shrink import config_json


def parameters(values):
    """Of a model without memory."""
    values = dict(values)
    with torch.device("meta"):
        config = AutoConfig.for_model(values.pop("model_type"), **values)
        return AutoModelForCausalLM.from_config(config).num_parameters()


@pytest.mark.parametrize("model", [LLAMA, QWEN2, QWEN3, MIXTURE, PARTLY])
def test_small_ones_of_every_family(model):
    assert of_model(model) == parameters(config_json(model))


def test_qwen3_30b_a3b(tmp_path):
    model = read_architecture(write_qwen3_30b_a3b(tmp_path / "qwen3"))
    assert of_model(model) == parameters(QWEN3_30B_A3B) == 30_532_122_624

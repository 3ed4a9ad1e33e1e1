"""The reference model is the model of transformers, in more digits."""

import pytest
import torch
from tiny_models import VOCABULARY, write_tiny_model
from transformers import AutoModelForCausalLM

from slime.model.exact import ExactModel

TOKENS = torch.arange(50) * 7 % VOCABULARY


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_logits_are_those_of_transformers(family, tmp_path):
    folder = write_tiny_model(tmp_path / family, family)
    exact = ExactModel(folder, torch.float32)
    logits = exact.logits(TOKENS)
    assert logits.dtype == torch.float64
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    torch.testing.assert_close(logits, plain(TOKENS[None]).logits[0], rtol=0, atol=1e-5)
    assert exact.parameters.keys() == dict(plain.named_parameters()).keys()


def test_the_gradient_has_more_digits_than_float32(tmp_path):
    """Against a finite difference, which a norm or a softmax in float32 would spoil."""
    exact = ExactModel(write_tiny_model(tmp_path / "qwen3", "qwen3"), torch.float32)

    def value():
        return exact.logits(TOKENS).log_softmax(-1)[:, 5].sum()

    for name, parameter in exact.parameters.items():
        [gradient] = torch.autograd.grad(value(), [parameter])
        at = gradient.abs().argmax()
        step = 1e-6
        with torch.no_grad():
            parameter.view(-1)[at] += step
            above = value()
            parameter.view(-1)[at] -= 2 * step
            below = value()
            parameter.view(-1)[at] += step
        slope = (above - below).item() / (2 * step)
        assert slope == pytest.approx(gradient.view(-1)[at].item(), rel=1e-6), name


def test_weights_are_rounded_to_the_precision(tmp_path):
    folder = write_tiny_model(tmp_path / "llama", "llama")
    exact = ExactModel(folder, torch.bfloat16)
    for parameter in exact.parameters.values():
        assert parameter.dtype == torch.float64
        assert torch.equal(parameter, parameter.bfloat16().double())
    full = ExactModel(folder, torch.float32).logits(TOKENS)
    assert 1e-4 < (exact.logits(TOKENS) - full).abs().max() < 0.3

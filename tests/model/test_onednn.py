import pytest
import torch
from torch import nn

from slime.model.onednn import linear, multiply_with_onednn


def test_products_agree_with_float64_and_follow_new_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 96), nn.Linear(96, 32, bias=False)).requires_grad_(False)
    multiply_with_onednn(model)
    rows = torch.randn(5, 3, 48)
    for _ in range(2):
        expected = rows.double()
        for layer in model:
            expected = expected @ layer.weight.double().T
            expected = expected if layer.bias is None else expected + layer.bias.double()
        torch.testing.assert_close(model(rows).double(), expected, rtol=1e-5, atol=1e-5)
        for parameter in model.parameters():
            parameter.mul_(1.5)


def test_other_dtypes_are_left_alone():
    model = nn.Linear(8, 8, dtype=torch.bfloat16)
    multiply_with_onednn(model)
    assert "forward" not in vars(model)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(0, 48, 96), (96, 0, 48), (5, 48, 96)])
def test_an_expert_without_tokens_multiplies_nothing(rows, inputs, outputs):
    """Forward it has no rows; the gradient of its weight is a sum over none of them."""
    given, weight = torch.randn(rows, inputs), torch.randn(inputs, outputs).t()
    torch.testing.assert_close(linear(weight, None, given), given @ weight.t())

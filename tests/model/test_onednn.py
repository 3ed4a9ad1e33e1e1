import torch
from torch import nn

from slime.model.onednn import multiply_with_onednn


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


def test_no_rows_give_no_rows():
    """Of a mixture, an expert may have no tokens."""
    model = nn.Sequential(nn.Linear(48, 96)).requires_grad_(False)
    multiply_with_onednn(model)
    assert model(torch.empty(0, 48)).shape == (0, 96)

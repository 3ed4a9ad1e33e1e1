import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slime.loss.products import product


@pytest.fixture(params=[True, False], ids=["oneDNN", "no oneDNN"])
def onednn(request):
    before, *_ = torch.backends.mkldnn.set_flags(request.param)
    yield request.param
    torch.backends.mkldnn.set_flags(before)


def factors(rows, inner, columns, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    left_MK = torch.randn(rows, inner, generator=generator, dtype=torch.float64)
    right_KN = torch.randn(inner, columns, generator=generator, dtype=torch.float64)
    return left_MK.to(dtype), right_KN.to(dtype)


@pytest.mark.usefixtures("onednn")
@given(
    sizes=st.tuples(*[st.integers(0, 40)] * 3),
    transposed=st.tuples(st.booleans(), st.booleans()),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_product_is_the_float64_product_rounded_to_float32(sizes, transposed, dtype):
    left_MK, right_KN = factors(*sizes, dtype)
    if transposed[0]:
        left_MK = left_MK.t().contiguous().t()
    if transposed[1]:
        right_KN = right_KN.t().contiguous().t()
    result_MN = product(left_MK, right_KN)
    assert result_MN.dtype == torch.float32
    expected_MN = left_MK.double() @ right_KN.double()
    torch.testing.assert_close(result_MN.double(), expected_MN, rtol=1e-5, atol=1e-5)


def test_a_float64_product_stays_float64():
    left_MK, right_KN = factors(5, 6, 7)
    torch.testing.assert_close(product(left_MK, right_KN), left_MK @ right_KN)


class Operators(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_without_onednn_the_product_is_torch_mm(onednn):
    with Operators() as operators:
        product(*factors(5, 6, 7, torch.float32))
    used_mm = "mm.default" in operators.names
    assert used_mm == (not onednn or not torch.backends.mkldnn.is_available())


@pytest.mark.gpu
def test_a_gpu_keeps_the_float32_sum_of_bfloat16_products():
    left_MK = torch.ones(1, 257, dtype=torch.bfloat16, device="cuda")
    assert product(left_MK, left_MK.t()).tolist() == [[257.0]]  # bfloat16 has 256 and 258

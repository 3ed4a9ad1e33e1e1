"""log_probs_and_entropy against the full float64 log-softmax it never builds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slime.loss import WHOLE_VOCABULARY, VocabularyShard, log_probs_and_entropy


def inputs(tokens, hidden, vocabulary, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden_TH = torch.randn(tokens, hidden, generator=generator, dtype=torch.float64)
    weight_VH = torch.randn(vocabulary, hidden, generator=generator, dtype=torch.float64)
    targets_T = torch.randint(vocabulary, (tokens,), generator=generator)
    return (
        hidden_TH.to(dtype).requires_grad_(),
        weight_VH.to(dtype).requires_grad_(),
        targets_T,
    )


def oracle(hidden_TH, weight_VH, targets_T, temperature):
    """One token at a time, in numpy."""
    hidden, weight = (x.detach().double().numpy() for x in (hidden_TH, weight_VH))
    log_probs, entropy = [], []
    for row, target in zip(hidden, targets_T.tolist(), strict=True):
        z = weight @ row / temperature
        log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
        log_probs.append(log_p[target])
        entropy.append(-(np.exp(log_p) * log_p).sum())
    return log_probs, entropy


def plain_torch(hidden_TH, weight_VH, targets_T, temperature):
    log_p_TV = torch.log_softmax(hidden_TH @ weight_VH.t() / temperature, dim=-1)
    log_probs_T = log_p_TV.gather(1, targets_T[:, None])[:, 0]
    return log_probs_T, -(log_p_TV.exp() * log_p_TV).sum(-1)


def gradients(function, hidden_TH, weight_VH, targets_T):
    """Of an arbitrary mixture of both results."""
    hidden_TH, weight_VH = (x.detach().clone().requires_grad_() for x in (hidden_TH, weight_VH))
    log_probs_T, entropy_T = function(hidden_TH, weight_VH, targets_T)
    mixture_T = torch.linspace(-1, 2, len(targets_T)).to(log_probs_T)
    (mixture_T @ log_probs_T + mixture_T.flip(0).square() @ entropy_T).backward()
    return hidden_TH.grad, weight_VH.grad


@settings(max_examples=40)
@given(
    tokens=st.integers(0, 9),
    vocabulary=st.integers(1, 12),
    chunk_elements=st.integers(1, 60),
    temperature=st.floats(0.3, 3.0),
    seed=st.integers(0, 1000),
)
def test_values_and_gradients_are_those_of_the_full_log_softmax(
    tokens, vocabulary, chunk_elements, temperature, seed
):
    def chunked(hidden_TH, weight_VH, targets_T):
        return log_probs_and_entropy(
            hidden_TH,
            weight_VH,
            targets_T,
            temperature=temperature,
            chunk_elements=chunk_elements,
            entropy_gradient=True,
        )

    own = inputs(tokens, 5, vocabulary, seed=seed)
    log_probs_T, entropy_T = chunked(*own)
    log_probs, entropy = oracle(*own, temperature)
    assert log_probs_T.tolist() == pytest.approx(log_probs, rel=1e-10, abs=1e-12)
    assert entropy_T.tolist() == pytest.approx(entropy, rel=1e-10, abs=1e-12)
    expected = gradients(lambda *x: plain_torch(*x, temperature), *own)
    torch.testing.assert_close(gradients(chunked, *own), expected, rtol=1e-9, atol=1e-11)


def test_the_backward_pass_is_the_numerical_derivative():
    hidden_TH, weight_VH, targets_T = inputs(7, 4, 11)

    def function(hidden_TH, weight_VH):
        return log_probs_and_entropy(
            hidden_TH,
            weight_VH,
            targets_T,
            temperature=0.7,
            chunk_elements=21,
            entropy_gradient=True,
        )

    assert torch.autograd.gradcheck(function, (hidden_TH, weight_VH))


PRECISIONS = [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)]


def check_against_float64(dtype, tolerance, device):
    own = tuple(x.detach().to(device) for x in inputs(20, 16, 50, dtype))

    def chunked(*x):
        return log_probs_and_entropy(*x, temperature=1.3, chunk_elements=140, entropy_gradient=True)

    log_probs_T, entropy_T = chunked(*own)
    assert log_probs_T.dtype == entropy_T.dtype == torch.float32
    log_probs, entropy = oracle(*(x.cpu() for x in own), 1.3)
    assert log_probs_T.tolist() == pytest.approx(log_probs, rel=1e-5, abs=1e-5)
    assert entropy_T.tolist() == pytest.approx(entropy, rel=1e-5, abs=1e-5)
    exact = (own[0].double(), own[1].double(), own[2])
    expected = gradients(lambda *x: plain_torch(*x, 1.3), *exact)
    for grad, exact_grad in zip(gradients(chunked, *own), expected, strict=True):
        assert grad.dtype == dtype
        assert (grad - exact_grad).norm() <= tolerance * exact_grad.norm()


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_results_are_float32_and_gradients_have_the_inputs_type(dtype, tolerance):
    check_against_float64(dtype, tolerance, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_gpu_gives_the_same_results(dtype, tolerance):
    check_against_float64(dtype, tolerance, "cuda")


@pytest.mark.parametrize("chunk_elements", [1, None])
@pytest.mark.parametrize("tokens", [[0, 1, 2], [1, 2, 0]])
def test_a_certain_token_has_log_prob_zero_and_an_impossible_one_no_overflow(
    tokens, chunk_elements
):
    hidden_TH = torch.tensor([[1.0], [1.0]], requires_grad=True)
    weight_VH = torch.tensor([[200.0], [-200.0], [0.0]])[tokens]
    log_probs_T, entropy_T = log_probs_and_entropy(
        hidden_TH,
        weight_VH,
        torch.tensor([tokens.index(0), tokens.index(1)]),
        temperature=0.5,
        chunk_elements=chunk_elements,
        entropy_gradient=True,
    )
    (log_probs_T.sum() + entropy_T.sum()).backward()
    assert log_probs_T.tolist() == [0.0, -800.0]
    assert entropy_T.tolist() == [0.0, 0.0]
    assert hidden_TH.grad.tolist() == [[0.0], [-800.0]]


def test_no_tokens_give_no_log_probs_and_zero_gradients():
    hidden_TH, weight_VH, targets_T = inputs(0, 4, 6, torch.float32)
    log_probs_T, entropy_T = log_probs_and_entropy(
        hidden_TH, weight_VH, targets_T, temperature=1.0, entropy_gradient=True
    )
    assert log_probs_T.shape == entropy_T.shape == (0,)
    (log_probs_T.sum() + entropy_T.sum()).backward()
    assert hidden_TH.grad.shape == (0, 4)
    assert not weight_VH.grad.any()


def test_without_entropy_gradient_the_entropy_is_the_same_number_without_a_graph():
    own = inputs(6, 4, 9)
    graphless = log_probs_and_entropy(*own, temperature=0.9, entropy_gradient=False)
    full = log_probs_and_entropy(*own, temperature=0.9, entropy_gradient=True)
    torch.testing.assert_close(graphless, full)
    assert graphless[0].requires_grad
    assert not graphless[1].requires_grad
    torch.testing.assert_close(
        torch.autograd.grad(graphless[0].sum(), own[:2]),
        torch.autograd.grad(full[0].sum(), own[:2]),
    )


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_input_gets_no_gradient_and_the_other_one_still_does(frozen):
    own = inputs(6, 4, 9)
    expected = torch.autograd.grad(plain_torch(*own, 1.0)[0].sum(), own[1 - frozen])
    own[frozen].requires_grad_(False)
    log_probs_and_entropy(*own, temperature=1.0, entropy_gradient=False)[0].sum().backward()
    assert own[frozen].grad is None
    torch.testing.assert_close((own[1 - frozen].grad,), expected)


class Matmuls(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "mm" in func.__name__ or "linear" in func.__name__
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("frozen", "expected"), [((), 4), ((0,), 3), ((1,), 3)])
def test_the_gradient_of_a_frozen_input_is_not_computed(frozen, expected, dtype):
    own = inputs(6, 4, 9, dtype)
    for i in frozen:
        own[i].requires_grad_(False)
    with Matmuls() as matmuls:
        log_probs_and_entropy(*own, temperature=1.0, entropy_gradient=False)[0].sum().backward()
    assert matmuls.count == expected  # logits, logits again, and a gradient each


def test_a_bfloat16_weight_gradient_adds_up_over_any_number_of_tokens():
    """A bfloat16 sum of ones stops growing at 256."""
    hidden_TH = torch.ones(600, 1, dtype=torch.bfloat16)
    weight_VH = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    targets_T = torch.zeros(600, dtype=torch.int64)
    log_probs_T, _ = log_probs_and_entropy(
        hidden_TH, weight_VH, targets_T, temperature=1.0, chunk_elements=1, entropy_gradient=False
    )
    log_probs_T.sum().mul(2).backward()
    assert weight_VH.grad.tolist() == [[600.0], [-600.0]]


def test_a_bfloat16_gradient_of_hidden_states_adds_up_over_any_number_of_chunks():
    hidden_TH = torch.zeros(1, 1, dtype=torch.bfloat16, requires_grad=True)
    weight_VH = torch.ones(600, 1, dtype=torch.bfloat16)
    weight_VH[0] = 0  # the target; each of the others has probability 1 / 600
    log_probs_T, _ = log_probs_and_entropy(
        hidden_TH,
        weight_VH,
        torch.tensor([0]),
        temperature=1.0,
        chunk_elements=1,
        entropy_gradient=False,
    )
    log_probs_T.sum().mul(600).backward()
    assert hidden_TH.grad.tolist() == [[-600.0]]  # -599 in bfloat16


def test_nothing_is_saved_when_nothing_requires_a_gradient():
    saved = []
    own = inputs(6, 4, 9)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        with torch.no_grad():
            log_probs_T, _ = log_probs_and_entropy(*own, temperature=1.0, entropy_gradient=True)
        log_probs_and_entropy(
            own[0].detach(), own[1].detach(), own[2], temperature=1.0, entropy_gradient=True
        )
        assert not saved
        assert not log_probs_T.requires_grad
        log_probs_and_entropy(*own, temperature=1.0, entropy_gradient=True)
    # inputs and per-row numbers, never anything of size [T, V]
    assert max(x.numel() for x in saved if x.data_ptr() != own[1].data_ptr()) <= own[0].numel()


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_larger_than_a_chunk_of_logits_is_ever_made(dtype):
    own = inputs(64, 2, 100, dtype)
    with LargestTensor() as largest:
        log_probs_T, entropy_T = log_probs_and_entropy(
            *own, temperature=0.8, chunk_elements=64 * 4, entropy_gradient=True
        )
        (log_probs_T + entropy_T).sum().backward()
    assert largest.elements == 64 * 4


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_an_error(temperature):
    with pytest.raises(ValueError, match="temperature must be > 0"):
        log_probs_and_entropy(*inputs(1, 2, 3), temperature=temperature, entropy_gradient=False)


def test_chunks_without_elements_are_an_error():
    with pytest.raises(ValueError, match="chunk_elements must be at least 1"):
        log_probs_and_entropy(
            *inputs(1, 2, 3), temperature=1.0, chunk_elements=0, entropy_gradient=False
        )


def test_two_dtypes_are_an_error():
    hidden_TH, weight_VH, targets_T = inputs(1, 2, 3)
    with pytest.raises(
        ValueError, match=r"hidden_TH is torch.float64, but weight_VH torch.float32"
    ):
        log_probs_and_entropy(
            hidden_TH, weight_VH.float(), targets_T, temperature=1.0, entropy_gradient=False
        )


def test_targets_of_another_length_are_an_error():
    hidden_TH, weight_VH, _ = inputs(3, 2, 4)
    with pytest.raises(ValueError, match=r"targets_T has shape \(2,\), expected \(3,\)"):
        log_probs_and_entropy(
            hidden_TH, weight_VH, torch.tensor([0, 1]), temperature=1.0, entropy_gradient=False
        )


def test_the_number_of_collectives_does_not_depend_on_the_number_of_chunks():
    calls = []
    shard = VocabularyShard(0, lambda _: calls.append("sum"), lambda _: calls.append("max"))
    assert WHOLE_VOCABULARY.first_token == 0
    log_probs_T, _ = log_probs_and_entropy(
        *inputs(9, 2, 4), temperature=1.0, shard=shard, chunk_elements=9, entropy_gradient=False
    )
    log_probs_T.sum().backward()
    assert calls == ["max", "sum", "sum"]


@pytest.mark.parametrize("target", [-100, -1, 53, 1000])
def test_a_target_that_no_token_is_has_no_log_prob_and_no_gradient(target):
    hidden_TH = torch.randn(3, 8, requires_grad=True)
    weight_VH = torch.randn(53, 8)
    targets_T = torch.tensor([5, target, 52])
    log_probs_T, _ = log_probs_and_entropy(
        hidden_TH, weight_VH, targets_T, temperature=1.0, entropy_gradient=False
    )
    assert log_probs_T.isnan().tolist() == [False, True, False]
    log_probs_T.nansum().backward()
    assert hidden_TH.grad[1].tolist() == [0.0] * 8
    assert hidden_TH.grad[[0, 2]].abs().min() > 0


def test_hidden_states_and_weights_of_another_width_are_an_error():
    with pytest.raises(ValueError, match="their last dimensions differ"):
        log_probs_and_entropy(
            torch.randn(2, 15), torch.randn(53, 16), torch.tensor([1, 2]),
            temperature=1.0, entropy_gradient=False,
        )  # fmt: skip

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from example_steps import VOCABULARY, configs, step_loss, steps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from examples.plain_torch import Samples, TinyModel, train_step

EXAMPLE = Path(__file__).parents[2] / "examples" / "plain_torch.py"


def padded(samples):
    def rectangle(rows, dtype):
        return pad_sequence([torch.tensor(r, dtype=dtype) for r in rows], batch_first=True)

    return Samples(
        tokens_SL=rectangle([s.tokens for s in samples], torch.int64),
        active_SL=rectangle([s.active for s in samples], torch.bool),
        rollout_log_probs_SL=rectangle([s.rollout_log_probs for s in samples], torch.float64),
        advantages_S=torch.tensor([s.advantage for s in samples], dtype=torch.float64),
        rollout_ids_S=torch.tensor([s.rollout for s in samples]),
        prompt_ids_S=torch.tensor([s.prompt for s in samples]),
    )


@settings(max_examples=30)
@given(
    samples=steps(),
    config=st.sampled_from(configs()),
    micro_batch_size=st.integers(1, 18),
    seed=st.integers(0, 100),
)
def test_loss_and_gradient_are_those_of_the_formula_for_any_micro_batches(
    samples, config, micro_batch_size, seed
):
    torch.manual_seed(seed)
    model = TinyModel(VOCABULARY, 5).double()
    keep_weights = torch.optim.SGD(model.parameters(), lr=0.0)
    loss = train_step(model, keep_weights, padded(samples), config, micro_batch_size)

    def log_p_of(tokens_L):
        return torch.log_softmax(model.output(model(tokens_L[None])[0]), dim=-1)

    expected = step_loss(samples, config.aggregation, log_p_of)
    assert loss == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    if expected.requires_grad:  # else no token is active
        gradients = torch.autograd.grad(expected, list(model.parameters()))
    else:
        gradients = [torch.zeros_like(p) for p in model.parameters()]
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-8, atol=1e-11)


def test_the_example_prints_the_same_numbers_for_every_micro_batch_size():
    done = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, check=True, timeout=300
    )
    numbers = {line.partition(": ")[2] for line in done.stdout.splitlines()}
    assert len(numbers) == 1
    assert "loss -0.1" in numbers.pop()

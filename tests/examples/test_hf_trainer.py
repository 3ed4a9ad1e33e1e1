import subprocess
import sys
from pathlib import Path

import pytest
import torch
from example_steps import TextSample, configs, step_loss, steps
from example_trainer_runs import data_parallel_run, gradients_of, model_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import free_port, run_processes

EXAMPLE = Path(__file__).parents[2] / "examples" / "hf_trainer.py"


def formula(samples, config):
    """-> loss, gradient of every parameter"""
    model = model_of(seed=0)

    def log_p_of(tokens_L):
        return torch.log_softmax(model(tokens_L[None]).logits[0], dim=-1)

    loss = step_loss(samples, config.aggregation, log_p_of)
    if loss.requires_grad:  # else no token is active
        gradients = torch.autograd.grad(loss, list(model.parameters()))
    else:
        gradients = [torch.zeros_like(p) for p in model.parameters()]
    names = [name for name, _ in model.named_parameters()]
    return loss.item(), dict(zip(names, gradients, strict=True))


def check(step, samples, config):
    loss, gradients = formula(samples, config)
    assert step.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)
    assert step.gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():  # transformers normalises layers in float32
        torch.testing.assert_close(step.gradients[name], gradient, rtol=1e-5, atol=1e-6)


@settings(max_examples=12)
@given(samples=steps(), config=st.sampled_from(configs()), data=st.data())
def test_loss_and_gradient_are_those_of_the_formula_for_any_micro_batches(samples, config, data):
    sizes = [n for n in range(1, len(samples) + 1) if len(samples) % n == 0]
    micro_batch_size = data.draw(st.sampled_from(sizes))
    (step,) = gradients_of(model_of(seed=0), [samples], config, micro_batch_size)
    check(step, samples, config)


def two_steps():
    """Of four samples each, but of other prompts, rollouts and lengths."""

    def sample(active, advantage, rollout, prompt):
        tokens = tuple((3 * rollout + t) % 11 for t in range(len(active)))
        return TextSample(tokens, active, (-1.0,) * len(active), advantage, rollout, prompt)

    first = [
        sample((False, True, True), 1.0, 1, 70),
        sample((False, True, False, True, True, True), -0.5, 2, 70),
        sample((False, True), 0.5, 3, 80),
        sample((False, False, True, True), 0.5, 3, 80),
    ]
    second = [
        sample((False, True, True, True, True), 2.0, 4, 90),
        sample((False, False), 1.0, 5, 91),
        sample((False, True), -1.0, 6, 92),
        sample((False, True, True), -0.7, 7, 92),
    ]
    return first, second


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
@pytest.mark.parametrize("config", configs(), ids=lambda c: c.aggregation)
def test_every_step_of_a_dataset_has_the_gradient_of_its_own_formula(config, micro_batch_size):
    taken = gradients_of(model_of(seed=0), two_steps(), config, micro_batch_size)
    for step, samples in zip(taken, two_steps(), strict=True):
        check(step, samples, config)


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_the_formula_too():
    results = run_processes(2, data_parallel_run, free_port(), two_steps())
    for config, of_rank in zip(configs(), zip(*results, strict=True), strict=True):
        for taken in of_rank:
            for step, samples in zip(taken, two_steps(), strict=True):
                check(step, samples, config)


def test_a_micro_batch_size_that_would_mix_two_steps_is_an_error():
    with pytest.raises(ValueError, match="4 samples do not split into batches of 3"):
        gradients_of(model_of(seed=0), two_steps(), configs()[0], 3)


def test_the_rows_of_a_sample_hold_its_weight_at_every_token():
    rows = rows_of(two_steps()[0], configs()[2])
    assert rows[0]["weights"].tolist() == pytest.approx([1 / 9] * 3)


def test_the_example_prints_the_same_numbers_for_every_micro_batch_size():
    done = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, check=True, timeout=300
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("micro-batches of")]
    assert len(lines) == 3
    assert len({line.partition(": ")[2] for line in lines}) == 1
    assert "loss -0.0" in lines[0]

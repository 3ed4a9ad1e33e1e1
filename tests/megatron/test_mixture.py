"""A step of a mixture of experts is the same step, however its experts are shared."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from layouts.crew import Crew
from layouts.layouts import Outcome, Trainers, parallel, shares_of
from layouts.problems import MODES
from tiny_models import write_tiny_model
from train_samples import train_samples, with_log_probs

from slime.config.schema import ParallelConfig
from slime.data import TrainSample

PAIRS = {
    "ep2": parallel(data=2, expert=2),
    "ep2 of context": parallel(context=2, expert=2),
    "ep2 distributed": parallel(data=2, expert=2, distributed_optimizer=True),
    "ep1": parallel(data=2),
}
FOURS = {
    "dp4 ep2": parallel(data=4, expert=2),
    "dp4 ep2 distributed": parallel(data=4, expert=2, distributed_optimizer=True),
    "tp2 ep2": parallel(data=2, tensor=2, expert=2),
    "pp2 ep2": parallel(data=2, pipeline=2, expert=2),
    "dp2 cp2 ep4": parallel(data=2, context=2, expert=4),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One layer without experts, so that a pipeline stage has none."""
    root = tmp_path_factory.mktemp("models")
    return write_tiny_model(root / "moe", "qwen3_moe", mlp_only_layers=[0])


@pytest.fixture(scope="module")
def pair() -> Iterator[Trainers]:
    yield from trainers(2)


@pytest.fixture(scope="module")
def four() -> Iterator[Trainers]:
    yield from trainers(4)


def trainers(size: int) -> Iterator[Trainers]:
    crew = Crew(size)
    yield Trainers(crew)
    crew.dismiss()


@pytest.fixture(scope="module")
def samples() -> list[TrainSample]:
    """With old and reference log-probs, every term of the loss in use."""
    plain = train_samples()
    near = [torch.full((len(s.sample.response_tokens_R),), -4.5) for s in plain]
    return with_log_probs(plain, near)


@pytest.fixture(scope="module")
def alone(pair, folder, samples) -> tuple[Outcome, Outcome]:
    """The gradient, and the weights after a step, of one process."""
    return outcomes(pair, folder, parallel(), samples)


def outcomes(
    crew: Trainers, folder: Path, layout: ParallelConfig, samples: list[TrainSample]
) -> tuple[Outcome, Outcome]:
    shares = shares_of(samples, layout)
    loss = MODES["sample_mean"]
    return crew.gradient(folder, layout, loss, shares), crew.step(folder, layout, loss, shares)


def assert_same(found: Sequence[Outcome], right: Sequence[Outcome]) -> None:
    for ours, theirs in zip(found, right, strict=True):
        assert ours.tensors.keys() == theirs.tensors.keys()
        for name, tensor in theirs.tensors.items():
            bound = 2e-5 * tensor.abs().max().item() + 1e-9
            torch.testing.assert_close(ours.tensors[name], tensor, rtol=0, atol=bound, msg=name)
        assert ours.metrics.loss == pytest.approx(theirs.metrics.loss, rel=1e-5)
        assert ours.metrics.grad_norm == pytest.approx(theirs.metrics.grad_norm, rel=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_norm_and_step_on_two_are_those_of_one(name, pair, folder, samples, alone):
    assert_same(outcomes(pair, folder, PAIRS[name], samples), alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOURS)
def test_gradients_norm_and_step_on_four_are_those_of_one(name, four, folder, samples, alone):
    assert_same(outcomes(four, folder, FOURS[name], samples), alone)


def test_every_expert_and_the_router_learn_from_the_step(alone):
    gradient = alone[0].tensors
    for expert in range(4):
        assert gradient[f"model.layers.1.mlp.experts.{expert}.down_proj.weight"].abs().max() > 1e-4
    assert gradient["model.layers.1.mlp.gate.weight"].abs().max() > 1e-4


def test_workers_that_share_experts_have_equally_many_micro_batches(samples):
    def sizes(**keys: int) -> list[int]:
        layout = parallel(data=2, max_tokens_per_microbatch=20, **keys)
        return [len(share) for share in shares_of(samples[:4], layout)]

    alone, together = sizes(), sizes(expert=2)
    assert len(set(alone)) == 2, "the case must be an uneven one"
    assert together == [max(alone)] * 2
    assert sizes(context=2, expert=2) == sizes(context=2)  # only within a share


def test_the_fillers_of_a_mixture_train_nothing(pair, folder, samples):
    few, loss = samples[:4], MODES["sample_mean"]
    layout = replace(PAIRS["ep2"], max_tokens_per_microbatch=20)
    shares = shares_of(few, layout)
    fillers = [one for share in shares for [one, *_] in share if not one.sample.active_tokens]
    assert len(fillers) == 1
    found = pair.gradient(folder, layout, loss, shares)
    right = pair.gradient(folder, parallel(), loss, shares_of(few, parallel()))
    assert_same((found,), (right,))

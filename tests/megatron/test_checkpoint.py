"""Checkpoints of train workers: nothing is lost, whatever layout reads them."""

import os

import checkpoint_cases as cases
import pytest
import torch
from processes import run_processes
from tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [write_tiny_model(root / family, family) for family in ("llama", "qwen3")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def alone(folders, root):
    return run_processes(1, cases.alone, folders, root)[0]


@pytest.fixture(scope="module")
def pair(folders, root, alone):  # noqa: ARG001 - reads what it saved
    pipe = root / "port"
    os.mkfifo(pipe)
    return run_processes(2, cases.pair, folders[0], root, pipe)


@pytest.fixture(scope="module")
def alone_again(folders, root, pair):  # noqa: ARG001 - reads what they saved
    return run_processes(1, cases.alone_again, folders[0], root)[0]


def assert_close(actual, expected, tolerance=1e-5):
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        scale = tensor.abs().max().item()
        torch.testing.assert_close(actual[name], tensor, atol=tolerance * scale, rtol=0)


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, atol=0, rtol=0)


def test_a_worker_that_goes_on_from_a_checkpoint_takes_the_very_same_steps(alone):
    for run in alone.runs.values():
        assert run.resumed_metrics == run.metrics
        assert_equal(run.resumed, run.weights)


def test_bfloat16_weights_keep_their_float32_copies(alone):
    assert_equal(alone.bfloat16.resumed, alone.bfloat16.weights)


def test_training_went_on_while_the_checkpoint_was_written(alone):
    """What is read is the state at the moment of saving, not a later one."""
    run = alone.runs["llama"]
    assert_equal(run.read, run.saved)
    assert any(not torch.equal(run.read[name], run.weights[name]) for name in run.read)


def test_random_generators_go_on_where_they_were(alone):
    assert alone.random_after == alone.random_resumed


def test_a_checkpoint_before_the_first_step_can_be_read(alone):
    assert_equal(alone.fresh.resumed, alone.fresh.weights)


@pytest.mark.parametrize("layout", cases.PAIRS)
def test_one_worker_saves_and_two_go_on(layout, alone, pair):
    assert_close(cases.whole(pair, "alone", layout), alone.runs["llama"].weights)


@pytest.mark.parametrize("layout", cases.PAIRS)
def test_two_workers_save_and_one_goes_on(layout, alone, alone_again):
    assert_close(alone_again[layout], alone.runs["llama"].weights)


@pytest.mark.parametrize(("saved", "loaded"), cases.RESHARDED)
def test_one_layout_saves_and_another_goes_on(saved, loaded, alone, pair):
    assert_close(cases.whole(pair, saved, loaded), alone.runs["llama"].weights)


def test_a_distributed_optimizer_goes_on_with_the_very_same_numbers(pair):
    assert_equal(
        cases.whole(pair, "sharded optimizer", "sharded optimizer"),
        cases.whole(pair, "sharded optimizer", None),
    )


def test_another_model_is_refused_in_a_line_that_names_the_key(alone):
    assert alone.refusal.startswith("checkpoint.resume: ")
    assert "is not of this model" in alone.refusal
    assert "\n" not in alone.refusal


def test_a_disk_that_cannot_be_written_is_an_oserror_on_every_rank(pair):
    assert [one.write_error for one in pair] == ["ENOSPC No space left on device"] * 2

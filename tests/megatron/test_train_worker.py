"""The train worker in processes of its own, against transformers and against itself."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
import train_worker_cases as cases
import train_worker_pairs
import transformers_training
from processes import free_port, run_processes
from tiny_models import tiny_weights, write_tiny_model
from train_samples import EVERY_TERM, SMOOTH_ADAM, TEMPERATURE, train_samples

from slime.config.schema import AdamConfig, Schedule
from slime.data.metrics import StepMetrics

FAMILIES = ("llama", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [write_tiny_model(root / family, family) for family in FAMILIES]


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> list[Path]:
    """Folders of a llama: a tensor is missing, one is too many, one has another shape."""
    root = tmp_path_factory.mktemp("broken")
    weights = tiny_weights("llama")
    name = "model.layers.1.mlp.up_proj.weight"
    variants = {
        "missing": {n: w for n, w in weights.items() if n != name},
        "unexpected": {**weights, "model.layers.7.mlp.up_proj.weight": torch.zeros(2)},
        "mis-shaped": {**weights, name: weights[name][:-1].contiguous()},
    }
    made = []
    for variant, tensors in variants.items():
        made.append(write_tiny_model(root / variant, "llama"))
        safetensors.torch.save_file(tensors, made[-1] / "model.safetensors")
    return made


@pytest.fixture(scope="module")
def sure_of_itself(tmp_path_factory) -> Path:
    """A model with probabilities as small as those of a real one, and gradients like them."""
    folder = write_tiny_model(tmp_path_factory.mktemp("sure") / "llama", "llama")
    weights = tiny_weights("llama")
    weights["model.norm.weight"] *= 8
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def trainings(folders) -> list[cases.Training]:
    return run_processes(1, cases.trainings, folders)[0]


@pytest.fixture(scope="module")
def expected_log_probs(folders) -> list[list[torch.Tensor]]:
    arguments = (folders, train_samples(), TEMPERATURE)
    return run_processes(1, transformers_training.log_probs, *arguments)[0]


@pytest.fixture(scope="module")
def expected_trainings(folders, trainings) -> list[list[transformers_training.Step]]:
    jobs = [(folder, t.samples) for folder, t in zip(folders, trainings, strict=True)]
    settings = (2, TEMPERATURE, EVERY_TERM, SMOOTH_ADAM)
    return run_processes(1, transformers_training.train, jobs, *settings)[0]


@pytest.fixture(scope="module")
def single(folders, broken, sure_of_itself, trainings) -> cases.Single:
    arguments = (folders, broken, sure_of_itself, trainings[0].samples)
    return run_processes(1, cases.single, *arguments)[0]


@pytest.fixture(scope="module")
def pair(folders, trainings) -> list[train_worker_pairs.Pair]:
    ports = [free_port() for _ in range(4)]
    return run_processes(
        2, train_worker_pairs.pair, ports, folders[0], folders[2], trainings[0].samples
    )


def assert_close(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            actual[name].double(),
            tensor.double(),
            atol=tolerance * tensor.abs().max().item(),
            rtol=0,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_same_log_probs(actual, expected, tolerance):
    assert [len(a) for a in actual] == [len(e) for e in expected]
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.double(), e.double(), atol=tolerance, rtol=0)


def assert_same_metrics(actual: StepMetrics, expected: StepMetrics, tolerance: float):
    for field in dataclasses.fields(StepMetrics):
        a, e = getattr(actual, field.name), getattr(expected, field.name)
        assert a == pytest.approx(e, rel=tolerance, abs=tolerance), field.name


def assert_same_run(actual: cases.Run, expected: cases.Run, tolerance: float):
    for a, e in zip(actual.metrics, expected.metrics, strict=True):
        assert_same_metrics(a, e, tolerance)
    assert_close(actual.weights, expected.weights, tolerance)


# ---- against transformers ----


@pytest.mark.parametrize("family", range(3), ids=FAMILIES)
def test_log_probs_are_those_of_transformers(family, trainings, expected_log_probs):
    assert_same_log_probs(trainings[family].old_log_probs, expected_log_probs[family], 1e-4)
    assert all(
        log_probs_R.dtype == torch.float32 for log_probs_R in trainings[family].old_log_probs
    )


@pytest.mark.parametrize("family", range(3), ids=FAMILIES)
def test_the_gradient_of_a_step_is_that_of_the_written_out_loss(
    family, trainings, expected_trainings
):
    assert_close(trainings[family].gradient, expected_trainings[family][0].gradient, 1e-4)


@pytest.mark.parametrize("family", range(3), ids=FAMILIES)
def test_two_steps_end_at_the_weights_of_plain_adamw(family, trainings, expected_trainings):
    run, steps = trainings[family].run, expected_trainings[family]
    for metrics, step in zip(run.metrics, steps, strict=True):
        assert metrics.loss == pytest.approx(step.loss, abs=1e-4)
        assert metrics.grad_norm == pytest.approx(step.grad_norm, rel=1e-3)
    assert_close(run.weights, steps[-1].weights, 1e-5)


def test_the_loss_is_the_sum_of_its_terms_and_every_term_counts(trainings):
    for metrics in trainings[0].run.metrics:
        parts = (metrics.pg_loss, metrics.kl_loss, metrics.entropy_loss)
        assert metrics.loss == pytest.approx(sum(parts))
        assert all(part != 0 for part in parts)
        assert metrics.clip_fraction_low > 0
        assert metrics.clip_fraction_high > 0


def test_reference_log_probs_stay_those_of_the_starting_model(trainings):
    for training in trainings:
        assert_same_log_probs(training.reference_log_probs, training.old_log_probs, 1e-5)
        moved = zip(training.new_log_probs, training.old_log_probs, strict=True)
        assert any((new - old).abs().max() > 1e-3 for new, old in moved)


def test_without_a_kl_term_there_is_no_reference(single):
    assert "no reference model" in single.no_reference


# ---- weights ----


@pytest.mark.parametrize("family", range(3), ids=FAMILIES)
def test_weights_come_back_bit_for_bit(family, single):
    assert cases.same(single.starts[family], tiny_weights(FAMILIES[family]))


def test_weights_come_back_bit_for_bit_from_shared_layers(pair):
    for worker in pair:
        assert cases.same(worker.tensor_parallel_export, tiny_weights("qwen3"))


def test_shared_layers_give_the_same_log_probs(pair, expected_log_probs):
    for worker in pair:
        assert_same_log_probs(worker.tensor_parallel_log_probs, expected_log_probs[2], 1e-4)


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (0, "lacks tensors that its config.json asks for: model.layers.1.mlp.up_proj.weight"),
        (1, "has tensors that its config.json does not ask for: model.layers.7.mlp.up_proj.weight"),
        (
            2,
            "has tensors of another shape than its config.json says: "
            "model.layers.1.mlp.up_proj.weight [79, 48] instead of [80, 48]",
        ),
    ],
)
def test_a_folder_that_is_not_the_model_is_a_config_error(variant, words, single, broken):
    assert single.load_errors[variant] == f"model.path: {broken[variant]} {words}"


def test_a_worker_that_cannot_load_its_model_does_not_start(single):
    assert single.start_error == single.load_errors[0]


# ---- the split does not matter ----


@pytest.mark.parametrize("sizes", [(4, 5), (1, 2, 6)])
def test_the_split_into_micro_batches_does_not_matter(sizes, single):
    assert_same_run(single.split[sizes], single.split[(9,)], 1e-5)


@pytest.mark.parametrize("layout", ["uneven", "filler"])
def test_two_data_parallel_workers_take_the_same_steps_as_one(layout, single, pair):
    one = single.split[(9,)]
    first, second = (getattr(worker, layout) for worker in pair)
    assert_same_run(first, one, 1e-5)
    assert second.metrics == first.metrics
    assert second.weights == {}, "only the first worker exports"


def test_data_parallel_workers_read_their_own_samples(pair, trainings):
    both = [*pair[0].log_probs, *pair[1].log_probs]
    assert_same_log_probs(both, trainings[0].old_log_probs, 1e-5)


# ---- steps that cannot be taken ----


def test_a_step_with_nan_or_inf_in_loss_or_gradient_changes_nothing(single):
    for metrics in single.skipped.metrics:
        assert metrics.skipped
        json.dumps(dataclasses.asdict(metrics), allow_nan=False)
    assert [m.loss is None for m in single.skipped.metrics] == [True, True, False]
    # Every token of the sample with an inf is beyond its bound, where no gradient passes.
    assert [m.grad_norm is None for m in single.skipped.metrics] == [True, False, True]
    assert single.skipped.weights_kept
    assert single.skipped.optimizer_state_kept
    assert single.skipped.gradient_left == 0


def test_training_goes_on_after_a_skipped_step_as_if_it_had_not_been(single):
    assert single.skipped.resumed.metrics == single.skipped.undisturbed.metrics
    assert cases.same(single.skipped.resumed.weights, single.skipped.undisturbed.weights)
    assert not any(metrics.skipped for metrics in single.skipped.resumed.metrics)


def test_a_nan_on_one_worker_skips_the_step_on_all(pair):
    assert pair[0].nan_on_one_rank == pair[1].nan_on_one_rank
    for worker in pair:
        assert worker.nan_on_one_rank.skipped
        assert worker.weights_kept


def test_without_active_tokens_every_mean_is_zero(single):
    metrics = dataclasses.asdict(single.no_active_tokens)
    assert metrics.pop("learning_rate") == SMOOTH_ADAM.learning_rate
    assert set(metrics.values()) == {0}


# ---- the optimizer ----


def test_a_constant_factor_on_the_loss_does_not_matter(single):
    assert single.loss_scale[AdamConfig().eps] < 1e-3
    for larger in (1e-8, 1e-15):
        assert single.loss_scale[larger] > 1e-2, "the test must see what a larger eps does"


def test_the_learning_rate_warms_up_from_the_first_step_and_then_follows_its_schedule(single):
    warm_up, peak, low = [1e-3, 2e-3], 3e-3, 1e-3
    cosine = [low + (peak - low) * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(5)]
    assert single.learning_rates == {
        Schedule.constant: pytest.approx([*warm_up, *[peak] * 5]),
        Schedule.linear: pytest.approx([*warm_up, 3e-3, 2.5e-3, 2e-3, 1.5e-3, 1e-3]),
        Schedule.cosine: pytest.approx([*warm_up, *cosine]),
    }


def test_bfloat16_trains_and_exports_bfloat16(single):
    exact = single.split[(9,)]
    assert single.bfloat16.metrics[0].loss == pytest.approx(exact.metrics[0].loss, rel=0.1)
    assert {tensor.dtype for tensor in single.bfloat16.weights.values()} == {torch.bfloat16}
    assert_close(single.bfloat16.weights, exact.weights, 0.02)


# ---- the device layer ----


def test_transformers_is_right_beside_the_device_layer(single, expected_log_probs):
    """It once was not: replaced torch functions gave models wrong rotary frequencies."""
    assert_same_log_probs(single.transformers_log_probs, expected_log_probs[0], 1e-12)

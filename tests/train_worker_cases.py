"""What the tests of the train worker run in processes of their own.

A worker owns its process (process groups, the device layer), and starting one takes seconds, so
each function here runs many workers one after the other and returns plain values.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from processes import free_port
from torch import Tensor
from train_samples import (
    EVERY_TERM,
    POLICY_ONLY,
    SMOOTH_ADAM,
    train_samples,
    with_log_probs,
    worker_spec,
)

from slime.config.schema import AdamConfig, ConfigError, ConstantLoss, Precision, Schedule
from slime.data import TrainSample
from slime.distributed import Rendezvous
from slime.megatron.convert import export, load_folder
from slime.megatron.spec import TrainWorkerSpec
from slime.megatron.worker import TrainWorker


@contextmanager
def running(spec: TrainWorkerSpec, rank: int = 0, size: int = 1, port: int = 0) -> Iterator[Any]:
    worker = TrainWorker(spec, Rendezvous(rank, size, "127.0.0.1", port or free_port()))
    try:
        yield worker
    finally:
        worker.close()


def weights_of(worker: TrainWorker) -> dict[str, Tensor]:
    return safetensors.torch.load(worker.export_weights())


def gradients_of(worker: TrainWorker) -> dict[str, Tensor]:
    """Under Hugging Face names: the exporter, with the gradients in the parameters' place."""
    model = worker._model
    kept = {parameter: parameter.data for parameter in model.parameters()}
    for parameter in kept:
        parameter.data = parameter.main_grad
    gradients = {name: tensor.clone() for name, tensor in export(model)}
    for parameter, data in kept.items():
        parameter.data = data
    return gradients


def distance(after: dict[str, Tensor], before: dict[str, Tensor]) -> float:
    return sum((after[n] - before[n]).double().square().sum().item() for n in before) ** 0.5


# ---- one process ----


def single(
    _rank: int, _size: int, _port: int, folders: dict[str, Path], broken: dict[str, Path]
) -> dict[str, Any]:
    llama = folders["llama"]
    return {
        "families": {name: log_probs_and_export(folder) for name, folder in folders.items()},
        "steps": steps(llama),
        "split": {split: trained_in(llama, split) for split in ((9,), (4, 5), (1, 2, 6))},
        "skipped": skipped_steps(llama),
        "no_active_tokens": no_active_tokens(llama),
        "loss_scale": {eps: loss_scale(llama, eps) for eps in (1e-8, 1e-15, 1e-20)},
        "learning_rates": {style.value: learning_rates(llama, style) for style in Schedule},
        "bfloat16": bfloat16(llama),
        "errors": {name: error_of(llama, folder) for name, folder in broken.items()},
    }


def log_probs_and_export(folder: Path) -> dict[str, Any]:
    samples = train_samples()
    with running(worker_spec(folder, loss=POLICY_ONLY)) as worker:
        return {
            "log_probs": worker.log_probs([samples[:2], samples[2:]]),
            "weights": weights_of(worker),
        }


def steps(folder: Path) -> dict[str, Any]:
    """Two steps with every term, first without clipping to see the gradients."""
    samples = step_samples(folder)
    unclipped = replace(SMOOTH_ADAM, clip_grad=0.0)
    with running(worker_spec(folder, optimizer=unclipped)) as worker:
        unclipped_metrics = worker.train([samples[:4], samples[4:]])
        gradient = gradients_of(worker)
    with running(worker_spec(folder)) as worker:
        before = worker.reference_log_probs([samples])
        metrics = [worker.train([samples[:4], samples[4:]]) for _ in range(2)]
        return {
            "samples": samples,
            "gradient": gradient,
            "unclipped_metrics": unclipped_metrics,
            "metrics": metrics,
            "weights": weights_of(worker),
            "start_log_probs": before,
            "reference_log_probs": worker.reference_log_probs([samples]),
            "log_probs": worker.log_probs([samples]),
        }


def step_samples(folder: Path) -> list[TrainSample]:
    samples = train_samples()
    with running(worker_spec(folder, loss=POLICY_ONLY)) as worker:
        return with_log_probs(samples, worker.log_probs([samples]))


def trained_in(folder: Path, split: Sequence[int]) -> dict[str, Any]:
    with running(worker_spec(folder)) as worker:
        return two_steps(worker, divide(step_samples_near(), split))


def step_samples_near() -> list[TrainSample]:
    """Old log-probs that need no model."""
    samples = train_samples()
    return with_log_probs(samples, [s.sample.rollout_log_probs_R for s in samples])


def divide(samples: Sequence[TrainSample], split: Sequence[int]) -> list[list[TrainSample]]:
    rest = list(samples)
    parts = [[rest.pop(0) for _ in range(size)] for size in split]
    assert not rest
    return parts


def two_steps(worker: TrainWorker, micro_batches: list[list[TrainSample]]) -> dict[str, Any]:
    metrics = [worker.train(micro_batches) for _ in range(2)]
    exported = worker.export_weights()
    return {"metrics": metrics, "weights": safetensors.torch.load(exported) if exported else {}}


def skipped_steps(folder: Path) -> dict[str, Any]:
    """A step with a nan, one with an inf, then a good one; and the good steps alone."""
    good = step_samples_near()

    def bad(value: float) -> list[TrainSample]:
        sample = good[3]
        return [*good[:3], replace(sample, advantages_R=sample.advantages_R * value), *good[4:]]

    with running(worker_spec(folder)) as worker:
        first = worker.train([good])
        before = state_of(worker)
        skipped = [worker.train([bad(float("nan"))]), worker.train([bad(float("inf"))])]
        after = state_of(worker)
        gradient = distance(gradients_of(worker), {n: w * 0 for n, w in before[0].items()})
        resumed = two_steps(worker, [good])
    with running(worker_spec(folder)) as worker:
        worker.train([good])
        undisturbed = two_steps(worker, [good])
    return {
        "first": first,
        "metrics": skipped,
        "same_weights": same(before[0], after[0]),
        "same_state": same(before[1], after[1]),
        "gradient_left": gradient,
        "resumed": resumed,
        "undisturbed": undisturbed,
    }


def state_of(worker: TrainWorker) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies of the weights and of the optimizer's state."""
    inner = worker._optimizer._optimizer.optimizer
    state = {
        f"{i}.{name}": torch.as_tensor(value).clone()
        for i, of_parameter in enumerate(inner.state.values())
        for name, value in of_parameter.items()
    }
    assert state
    return {name: w.clone() for name, w in weights_of(worker).items()}, state


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def no_active_tokens(folder: Path) -> Any:
    samples = [
        replace(s, sample=replace(s.sample, loss_mask_R=torch.zeros_like(s.sample.loss_mask_R)))
        for s in step_samples_near()
    ]
    with running(worker_spec(folder)) as worker:
        return worker.train([samples])


def loss_scale(folder: Path, eps: float) -> float:
    """How far five steps with divisors 1 and 1e5 end from each other, relative to the update."""
    ends, start = [], {}
    for divisor in (1.0, 1e5):
        config = ConstantLoss(divisor=divisor)
        optimizer = AdamConfig(learning_rate=1e-3, eps=eps, clip_grad=0.0)
        samples = train_samples()
        weight = 1 / (len(samples) * divisor)
        samples = [replace(s, weight=weight, auxiliary_weight=weight) for s in samples]
        with running(worker_spec(folder, loss=config, optimizer=optimizer)) as worker:
            start = {name: w.clone() for name, w in weights_of(worker).items()}
            for _ in range(5):
                worker.train([samples])
            ends.append(weights_of(worker))
    return distance(ends[1], ends[0]) / distance(ends[0], start)


def learning_rates(folder: Path, style: Schedule) -> list[float]:
    adam = replace(
        SMOOTH_ADAM, schedule=style, warmup_steps=2, learning_rate=3e-3, min_learning_rate=1e-3
    )
    spec = worker_spec(folder, loss=POLICY_ONLY, optimizer=adam, total_steps=6)
    with running(spec) as worker:
        return [worker.train([train_samples(1)]).learning_rate for _ in range(7)]


def bfloat16(folder: Path) -> dict[str, Any]:
    spec = worker_spec(folder, precision=Precision.bfloat16)
    with running(spec) as worker:
        return two_steps(worker, divide(step_samples_near(), (4, 5)))


def error_of(llama: Path, folder: Path) -> str:
    """Of loading `folder` into a model of the right architecture, which must stay as it was."""
    with running(worker_spec(llama, loss=POLICY_ONLY)) as worker:
        before = weights_of(worker)
        try:
            load_folder(worker._model, folder)
        except ConfigError as error:
            assert same(before, weights_of(worker))
            return str(error)
    return "nothing"


# ---- two processes ----


def pair(rank: int, size: int, port: int, folder: Path) -> dict[str, Any]:
    samples = step_samples_near()
    layouts = {
        "uneven": [divide(samples[:7], (1, 2, 4)), divide(samples[7:], (2,))],
        "filler": [divide(samples, (4, 5)), [[filler(samples[0])]]],
    }
    results = {}
    for name, layout in layouts.items():
        spec = worker_spec(folder, data=size)
        with running(spec, rank, size, port) as worker:
            results[name] = two_steps(worker, layout[rank])
            results[name]["own_log_probs"] = worker.log_probs(layout[rank])
    spec = worker_spec(folder, data=size)
    with running(spec, rank, size, port) as worker:
        before = {name: w.clone() for name, w in export(worker._model)}
        poisoned = replace(samples[0], advantages_R=samples[0].advantages_R * float("nan"))
        metrics = worker.train([samples[1:5]] if rank == 0 else [[poisoned, *samples[5:]]])
        results["poisoned"] = {
            "metrics": metrics,
            "same_weights": same(before, dict(export(worker._model))),
        }
    return results


def filler(sample: TrainSample) -> TrainSample:
    masked = replace(sample.sample, loss_mask_R=torch.zeros_like(sample.sample.loss_mask_R))
    return replace(sample, sample=masked, weight=0.0, auxiliary_weight=0.0)

"""What the tests of the train worker run in processes of their own.

A worker owns its process (process groups, the device layer), and starting one takes seconds, so
each function here runs many workers one after the other and returns plain values.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from processes import free_port
from torch import Tensor, distributed
from train_samples import (
    POLICY_ONLY,
    SMOOTH_ADAM,
    TEMPERATURE,
    train_samples,
    with_log_probs,
    worker_spec,
)
from transformers_training import log_probs as transformers_log_probs

from slime.config.schema import AdamConfig, ConfigError, ConstantLoss, Precision, Schedule
from slime.data import TrainSample
from slime.data.metrics import StepMetrics
from slime.distributed import Rendezvous
from slime.megatron import gradients
from slime.megatron.convert import export, load_folder
from slime.megatron.spec import TrainWorkerSpec
from slime.megatron.worker import TrainWorker

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Run:
    """A few steps and what they left behind."""

    metrics: list[StepMetrics]
    weights: Weights


@contextmanager
def running(spec: TrainWorkerSpec, rank: int = 0, port: int = 0) -> Iterator[TrainWorker]:
    meeting = Rendezvous(rank, spec.parallel.workers, "127.0.0.1", port or free_port())
    worker = TrainWorker(spec, meeting)
    try:
        yield worker
    finally:
        worker.close()


def weights_of(worker: TrainWorker) -> Weights:
    return safetensors.torch.load(worker.export_weights())


def gradient_of(worker: TrainWorker) -> Weights:
    """What the gradient buffers hold, under Hugging Face names."""
    return {
        name: tensor.clone()
        for name, tensor in export(worker._model, gradients.gradient_of).tensors()
    }


def distance(after: Weights, before: Weights) -> float:
    return sum((after[n] - before[n]).double().square().sum().item() for n in before) ** 0.5


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def divide(samples: Sequence[TrainSample], sizes: Sequence[int]) -> list[list[TrainSample]]:
    assert sum(sizes) == len(samples)
    rest = iter(samples)
    return [[next(rest) for _ in range(size)] for size in sizes]


def two_steps(worker: TrainWorker, micro_batches: list[list[TrainSample]]) -> Run:
    metrics = [worker.train(micro_batches) for _ in range(2)]
    exported = worker.export_weights()
    return Run(metrics, safetensors.torch.load(exported) if exported else {})


# ---- against transformers ----


@dataclass(frozen=True)
class Training:
    """Two steps with every term of the loss, and one without clipping for the gradient."""

    samples: list[TrainSample]
    gradient: Weights
    run: Run
    old_log_probs: list[Tensor]
    reference_log_probs: list[Tensor]  # after the steps
    new_log_probs: list[Tensor]


def trainings(_rank: int, folders: Sequence[Path]) -> list[Training]:
    return [training(folder) for folder in folders]


def training(folder: Path) -> Training:
    samples = train_samples()
    unclipped = replace(SMOOTH_ADAM, clip_grad=0.0)
    with running(worker_spec(folder, optimizer=unclipped)) as worker:
        old = worker.log_probs([samples[:2], samples[2:]])
        samples = with_log_probs(samples, old)
        worker.train([samples[:4], samples[4:]])
        gradient = gradient_of(worker)
    with running(worker_spec(folder)) as worker:
        run = two_steps(worker, [samples[:4], samples[4:]])
        reference = worker.reference_log_probs([samples])
        return Training(samples, gradient, run, old, reference, worker.log_probs([samples]))


# ---- one worker ----


@dataclass(frozen=True)
class Single:
    starts: list[Weights]  # exported before any step, per folder
    split: dict[tuple[int, ...], Run]
    skipped: "Skipped"
    no_active_tokens: StepMetrics
    loss_scale: dict[float, float]
    learning_rates: dict[Schedule, list[float]]
    bfloat16: Run
    load_errors: list[str]
    start_error: str
    transformers_log_probs: list[Tensor]
    no_reference: str


def single(
    rank: int,
    folders: Sequence[Path],
    broken: Sequence[Path],
    sure_of_itself: Path,
    samples: Sequence[TrainSample],
) -> Single:
    llama = folders[0]
    splits = ((9,), (4, 5), (1, 2, 6))
    return Single(
        start_error=start_error(broken[0]),
        starts=[start(folder) for folder in folders],
        split={sizes: divided(llama, samples, sizes) for sizes in splits},
        skipped=skipped(llama, samples),
        no_active_tokens=no_active_tokens(llama, samples),
        loss_scale={e: loss_scale(sure_of_itself, e) for e in (1e-8, 1e-15, AdamConfig().eps)},
        learning_rates={schedule: learning_rates(llama, schedule) for schedule in Schedule},
        bfloat16=divided(llama, samples, (4, 5), Precision.bfloat16),
        load_errors=[load_error(llama, folder) for folder in broken],
        no_reference=no_reference(llama),
        transformers_log_probs=transformers_log_probs(
            rank, [llama], train_samples(), TEMPERATURE
        )[0],
    )  # fmt: skip


def start(folder: Path) -> Weights:
    with running(worker_spec(folder, loss=POLICY_ONLY)) as worker:
        return weights_of(worker)


def divided(
    folder: Path,
    samples: Sequence[TrainSample],
    sizes: Sequence[int],
    precision: Precision = Precision.float32,
) -> Run:
    with running(worker_spec(folder, precision=precision)) as worker:
        return two_steps(worker, divide(samples, sizes))


@dataclass(frozen=True)
class Skipped:
    """A good step, three bad ones, two good ones; and the good ones alone.

    The bad ones: a nan, an inf, and a finite loss whose gradient overflows.
    """

    metrics: list[StepMetrics]
    weights_kept: bool
    optimizer_state_kept: bool
    gradient_left: float
    resumed: Run
    undisturbed: Run


def skipped(folder: Path, samples: Sequence[TrainSample]) -> Skipped:
    def spoiled(factor: float) -> TrainSample:
        return replace(samples[3], advantages_R=samples[3].advantages_R * factor)

    bad = [spoiled(float("nan")), spoiled(float("inf")), replace(samples[3], auxiliary_weight=3e38)]
    good = [list(samples)]
    with running(worker_spec(folder)) as worker:
        worker.train(good)
        undisturbed = two_steps(worker, good)
    with running(worker_spec(folder)) as worker:
        worker.train(good)
        weights, state = weights_of(worker), optimizer_state(worker)
        metrics = [worker.train([[*samples[:3], one, *samples[4:]]]) for one in bad]
        gradient = gradient_of(worker)
        return Skipped(
            metrics,
            weights_kept=same(weights, weights_of(worker)),
            optimizer_state_kept=same(state, optimizer_state(worker)),
            gradient_left=max(tensor.abs().max().item() for tensor in gradient.values()),
            resumed=two_steps(worker, good),
            undisturbed=undisturbed,
        )


def optimizer_state(worker: TrainWorker) -> Weights:
    states = worker._optimizer._optimizer.optimizer.state.values()
    return {
        f"{i}.{name}": torch.as_tensor(value).clone()
        for i, state in enumerate(states)
        for name, value in state.items()
    }


def no_active_tokens(folder: Path, samples: Sequence[TrainSample]) -> StepMetrics:
    with running(worker_spec(folder)) as worker:
        return worker.train([[masked(sample) for sample in samples]])


def masked(sample: TrainSample) -> TrainSample:
    mask_R = torch.zeros_like(sample.sample.loss_mask_R)
    nothing = replace(sample.sample, loss_mask_R=mask_R)
    return replace(sample, sample=nothing, weight=0.0, auxiliary_weight=0.0)


def loss_scale(folder: Path, eps: float) -> float:
    """How far apart five steps with divisors 1 and 1e5 end, relative to the update."""
    begin = start(folder)
    ends = [five_steps(folder, eps, divisor) for divisor in (1.0, 1e5)]
    return distance(ends[1], ends[0]) / distance(ends[0], begin)


def five_steps(folder: Path, eps: float, divisor: float) -> Weights:
    loss = ConstantLoss(divisor=divisor)
    optimizer = AdamConfig(learning_rate=1e-3, eps=eps, clip_grad=0.0)
    samples = train_samples()
    weight = 1 / (len(samples) * divisor)
    weighted = [replace(s, weight=weight, auxiliary_weight=weight) for s in samples]
    with running(worker_spec(folder, loss=loss, optimizer=optimizer)) as worker:
        for _ in range(5):
            worker.train([weighted])
        return weights_of(worker)


def learning_rates(folder: Path, schedule: Schedule) -> list[float]:
    """Of seven steps in a run of six."""
    adam = replace(
        SMOOTH_ADAM, schedule=schedule, warmup_steps=2, learning_rate=3e-3, min_learning_rate=1e-3
    )
    spec = worker_spec(folder, loss=POLICY_ONLY, optimizer=adam, total_steps=6)
    with running(spec) as worker:
        return [worker.train([train_samples(2)]).learning_rate for _ in range(7)]


def load_error(llama: Path, folder: Path) -> str:
    """Of loading `folder` into a model of the right architecture, which must stay as it was."""
    with running(worker_spec(llama, loss=POLICY_ONLY)) as worker:
        before = weights_of(worker)
        try:
            load_folder(worker._model, folder)
        except ConfigError as error:
            assert same(before, weights_of(worker))
            return str(error)
    return "no error"


def start_error(folder: Path) -> str:
    """A worker that cannot start must leave the process as it found it."""
    try:
        with running(worker_spec(folder)):
            return "no error"
    except ConfigError as error:
        assert not distributed.is_initialized()
        return str(error)


def no_reference(folder: Path) -> str:
    with running(worker_spec(folder, loss=POLICY_ONLY)) as worker:
        try:
            worker.reference_log_probs([train_samples()])
        except RuntimeError as error:
            return str(error)
    return "no error"

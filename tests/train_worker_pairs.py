"""What two train workers do together, in a process each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from train_samples import POLICY_ONLY, train_samples, worker_spec
from train_worker_cases import Run, Weights, divide, masked, running, same, two_steps

from slime.data import TrainSample
from slime.data.metrics import StepMetrics
from slime.megatron.convert import export


@dataclass(frozen=True)
class Pair:
    uneven: Run
    filler: Run
    log_probs: list[Tensor]  # of this rank's samples in `uneven`, before any step
    nan_on_one_rank: StepMetrics
    weights_kept: bool
    tensor_parallel_export: Weights
    tensor_parallel_log_probs: list[Tensor]


def pair(
    rank: int,
    ports: Sequence[int],
    folder: Path,
    tied_folder: Path,
    samples: Sequence[TrainSample],
) -> Pair:
    """Each meeting has a port: a meeting must not find what is left of the one before."""
    spec = worker_spec(folder, data=2)
    uneven = [divide(samples[:7], (1, 2, 4)), divide(samples[7:], (2,))][rank]
    filler = [divide(samples, (4, 5)), [[masked(samples[0])]]][rank]
    with running(spec, rank, ports[0]) as worker:
        log_probs = worker.log_probs(uneven)
        uneven_run = two_steps(worker, uneven)
    with running(spec, rank, ports[1]) as worker:
        filler_run = two_steps(worker, filler)
    with running(spec, rank, ports[2]) as worker:
        before = {name: tensor.clone() for name, tensor in export(worker._model).tensors()}
        bad = replace(samples[0], advantages_R=samples[0].advantages_R * float("nan"))
        metrics = worker.train([samples[1:5]] if rank == 0 else [[bad, *samples[5:]]])
        weights_kept = same(before, dict(export(worker._model).tensors()))
    exported, shared_log_probs = tensor_parallel_model(rank, ports[3], tied_folder)
    return Pair(
        uneven_run, filler_run, log_probs, metrics, weights_kept, exported, shared_log_probs
    )


def tensor_parallel_model(rank: int, port: int, folder: Path) -> tuple[Weights, list[Tensor]]:
    """The converter and the passes with every layer shared by two workers."""
    with running(worker_spec(folder, loss=POLICY_ONLY, tensor=2), rank, port) as worker:
        exported = {name: tensor.clone() for name, tensor in export(worker._model).tensors()}
        return exported, worker.log_probs([train_samples()])

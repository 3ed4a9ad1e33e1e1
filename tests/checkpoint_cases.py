"""What the tests of checkpoints run in processes of their own."""

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from processes import free_port
from train_samples import POLICY_ONLY, SMOOTH_ADAM, train_samples, worker_spec
from train_worker_cases import Weights, divide, running

from slime.config.schema import ConfigError, Precision, Schedule
from slime.data import TrainSample
from slime.data.metrics import StepMetrics
from slime.megatron import checkpoint_files
from slime.megatron.spec import TrainWorkerSpec
from slime.megatron.worker import TrainWorker

STEPS = 3  # before a checkpoint and after it
PAIRS = {
    "data": {"data": 2},
    "sharded optimizer": {"data": 2, "distributed_optimizer": True},
    "tensor": {"tensor": 2},
    "pipeline": {"pipeline": 2},
}
RESHARDED = [
    ("data", "sharded optimizer"),
    ("sharded optimizer", "tensor"),
    ("tensor", "sharded optimizer"),
    ("tensor", "pipeline"),
    ("pipeline", "data"),
]


@dataclass(frozen=True)
class Resumed:
    metrics: list[StepMetrics]  # of the steps after the checkpoint, without one
    weights: Weights  # after them
    saved: Weights  # when it was saved
    read: Weights  # when it was read
    resumed_metrics: list[StepMetrics]  # of the same steps, from the checkpoint
    resumed: Weights


@dataclass(frozen=True)
class Alone:
    runs: dict[str, Resumed]
    bfloat16: Resumed
    fresh: Resumed
    random_after: list[float]
    random_resumed: list[float]
    refusal: str


@dataclass(frozen=True)
class Pair:
    """Of this rank; weights by (saved under, went on under), the second None for not at all."""

    weights: dict[tuple[str, str | None], Weights]
    write_error: str = ""


def weights_of(worker: TrainWorker) -> Weights:
    exported = worker.export_weights()
    return safetensors.torch.load(exported) if exported else {}


def steps(worker: TrainWorker, samples: list[list[TrainSample]]) -> list[StepMetrics]:
    return [worker.train(samples) for _ in range(STEPS)]


def save(worker: TrainWorker, folder: Path, rank: int = 0) -> None:
    if rank == 0:
        folder.mkdir()
    torch.distributed.barrier()
    worker.begin_checkpoint(folder)


# ---- one worker ----


def alone(_rank: int, folders: Sequence[Path], root: Path) -> Alone:
    llama = worker_spec(folders[0], loss=POLICY_ONLY)
    scheduled = replace(llama, optimizer=replace(SMOOTH_ADAM, schedule=Schedule.linear))
    qwen3 = worker_spec(folders[1], loss=POLICY_ONLY)
    runs = {"llama": resumed(llama, root / "alone"), "qwen3": resumed(qwen3, root / "qwen3")}
    runs["scheduled"] = resumed(scheduled, root / "scheduled")
    half = resumed(replace(llama, parallel=_half(llama)), root / "bfloat16")
    fresh = resumed(llama, root / "fresh", before=0)
    return Alone(
        runs,
        half,
        fresh,
        *random_numbers(llama, root),
        refusal=refusal(qwen3, root / "alone"),
    )


def _half(spec: TrainWorkerSpec):
    return replace(spec.parallel, precision=Precision.bfloat16)


def resumed(spec: TrainWorkerSpec, folder: Path, before: int = STEPS) -> Resumed:
    samples = divide(train_samples(), (4, 5))
    with running(spec) as worker:
        for _ in range(before):
            worker.train(samples)
        saved = weights_of(worker)
        with writing_waits():
            save(worker, folder)
            metrics = steps(worker, samples)
        worker.finish_checkpoint()
        weights = weights_of(worker)
    with running(spec) as worker:
        worker.load_checkpoint(folder)
        read = weights_of(worker)
        return Resumed(metrics, weights, saved, read, steps(worker, samples), weights_of(worker))


@contextmanager
def writing_waits() -> Iterator[None]:
    """Until the end of the block: a disk may be as slow as that."""
    write, may_begin = checkpoint_files.Snapshot.write, threading.Event()

    def waiting(snapshot: checkpoint_files.Snapshot) -> None:
        may_begin.wait()
        write(snapshot)

    checkpoint_files.Snapshot.write = waiting
    try:
        yield
    finally:
        may_begin.set()
        checkpoint_files.Snapshot.write = write


def random_numbers(spec: TrainWorkerSpec, root: Path) -> tuple[list[float], list[float]]:
    with running(spec) as worker:
        torch.rand(7)
        save(worker, root / "random")
        after = torch.rand(3).tolist()
        worker.finish_checkpoint()
    with running(spec) as worker:
        worker.load_checkpoint(root / "random")
        return after, torch.rand(3).tolist()


def refusal(spec: TrainWorkerSpec, folder: Path) -> str:
    with running(spec) as worker:
        try:
            worker.load_checkpoint(folder)
        except ConfigError as error:
            return str(error)
    return "none"


# ---- two workers ----


def pair(rank: int, folder: Path, root: Path, pipe: Path) -> Pair:
    found = {}
    for layout in PAIRS:
        with running(spec_of(folder, layout), rank, agreed_port(rank, pipe)) as worker:
            steps(worker, share(rank, layout))
            save(worker, root / layout, rank)
            steps(worker, share(rank, layout))
            worker.finish_checkpoint()
            found[layout, None] = weights_of(worker)
    error = full_disk(spec_of(folder, "data"), root / "full", rank, agreed_port(rank, pipe))
    moves = [*(("alone", layout) for layout in PAIRS), *RESHARDED]
    for saved, loaded in [*moves, ("sharded optimizer", "sharded optimizer")]:
        with running(spec_of(folder, loaded), rank, agreed_port(rank, pipe)) as worker:
            worker.load_checkpoint(root / saved)
            steps(worker, share(rank, loaded))
            found[saved, loaded] = weights_of(worker)
    return Pair(found, error)


def agreed_port(rank: int, pipe: Path) -> int:
    """One that is free now: on a busy machine it may not be so for long."""
    if rank == 0:
        port = free_port()
        pipe.write_text(str(port))
        return port
    return int(pipe.read_text())


def spec_of(folder: Path, layout: str) -> TrainWorkerSpec:
    spec = worker_spec(folder, loss=POLICY_ONLY)
    return replace(spec, parallel=replace(spec.parallel, **PAIRS[layout]))


def share(rank: int, layout: str) -> list[list[TrainSample]]:
    first, second = divide(train_samples(), (4, 5))
    return [[first], [second]][rank] if "data" in PAIRS[layout] else [first, second]


def full_disk(spec: TrainWorkerSpec, folder: Path, rank: int, port: int) -> str:
    """Only one of the two has no room."""

    def refuse(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with running(spec, rank, port) as worker:
        if rank == 1:
            checkpoint_files.Snapshot.write = refuse
        save(worker, folder, rank)
        try:
            worker.finish_checkpoint()
        except OSError as error:
            return f"{errno.errorcode[error.errno]} {error.strerror}"
    return "none"


def whole(pair: Sequence[Pair], saved: str, loaded: str | None) -> Weights:
    """The weights that both ranks export together."""
    return {name: tensor for one in pair for name, tensor in one.weights[saved, loaded].items()}


def alone_again(_rank: int, folder: Path, root: Path) -> dict[str, Weights]:
    """One worker goes on from what two have saved."""
    found = {}
    for layout in PAIRS:
        with running(worker_spec(folder, loss=POLICY_ONLY)) as worker:
            worker.load_checkpoint(root / layout)
            steps(worker, divide(train_samples(), (4, 5)))
            found[layout] = weights_of(worker)
    return found

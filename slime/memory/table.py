"""An estimate in words and numbers."""

from collections.abc import Iterator, Sequence

from slime.memory.estimate import (
    ENGINE_PROCESS,
    GPU_PROCESS,
    GPUS_OF_A_MACHINE,
    TRAIN_PROCESS,
    Estimate,
    Need,
)
from slime.memory.machine import GIB
from slime.memory.parameters import active_of_model, of_model
from slime.memory.worker import WorkerMemory
from slime.memory.workload import largest_micro_batch

_COLUMNS = (
    "GiB of one worker", "workers", "parameters", "weights", "gradients", "optimizer", "reference",
    "activations", "working", "process", "all",
)  # fmt: skip
_CHECKPOINT_COLUMNS = ("GiB in main memory of a checkpoint", "copied", "gathered", "passing", "all")
_ENGINE_COLUMNS = ("GiB of the rollout engine", "weights", "cache", "working", "process", "all")


def text_of(found: Estimate) -> str:
    """What there is to fit, what each kind of worker needs, and whether the machine has it."""
    parts = ["\n".join(_facts(found)), _aligned(_worker_rows(found))]
    if found.engine is not None:
        parts.append(_aligned(_engine_rows(found)))
    parts.append(_aligned(_checkpoint_rows(found)))
    parts.append("\n".join(map(_verdict, found.needs)) or "main memory: not known, not judged")
    return "\n\n".join(parts)


def gib(size: int) -> str:
    """Three digits where they mean something."""
    value = size / GIB
    return f"{value:.1f}" if value >= 1 or not size else f"{value:.2g}"


def count(number: int) -> str:
    """30.53B, 134.5M"""
    for unit, size, digits in (("B", 10**9, 2), ("M", 10**6, 1), ("k", 10**3, 1)):
        if number >= size:
            return f"{number / size:.{digits}f}{unit}"
    return str(number)


def _facts(found: Estimate) -> Iterator[str]:
    model, parallel = found.subject.model, found.parallel
    total, active = of_model(model), active_of_model(model)
    of_token = f", {count(active)} of them for each token" if active < total else ""
    precision = "bfloat16" if found.device.element_bytes == 2 else "float32"
    yield f"model: {model.family}, {model.layers} layers, {count(total)} parameters{of_token}"
    shares = ("data", "context", "tensor", "pipeline", "expert")
    sizes = ", ".join(f"{name} {getattr(parallel, name)}" for name in shares)
    optimizer = "distributed optimizer" if parallel.distributed_optimizer else "whole optimizer"
    workers = f"{parallel.workers} worker{'s' if parallel.workers > 1 else ''}"
    yield f"layout: {workers} ({sizes}), {optimizer}, {precision}"
    batch = largest_micro_batch(found.subject.work, parallel)
    yield f"micro-batch: at most {batch.tokens} tokens on a worker"


def _worker_rows(found: Estimate) -> Iterator[Sequence[str]]:
    yield _COLUMNS
    process = GPU_PROCESS if found.device.on_gpu else TRAIN_PROCESS
    each = found.parallel.workers // found.parallel.pipeline
    for name, stages, worker in _kinds(found):
        parts = (
            worker.states.weights, worker.states.gradients, worker.states.optimizer,
            worker.reference, worker.activations, worker.working, process, worker.total + process,
        )  # fmt: skip
        yield (name, str(stages * each), count(worker.parameters), *map(gib, parts))


def _kinds(found: Estimate) -> Iterator[tuple[str, int, WorkerMemory]]:
    """First, middle and last stages; of the middle ones the one that needs most."""
    stages = found.stages
    if len(stages) == 1:
        yield "every worker", 1, stages[0]
        return
    yield "first stage", 1, stages[0]
    if middle := stages[1:-1]:
        between = "stage 2" if len(middle) == 1 else f"stages 2 to {len(stages) - 1}, at most"
        yield between, len(middle), max(middle, key=lambda worker: worker.total)
    yield "last stage", 1, stages[-1]


def _engine_rows(found: Estimate) -> Iterator[Sequence[str]]:
    assert found.engine is not None
    engine, process = found.engine, GPU_PROCESS if found.device.on_gpu else ENGINE_PROCESS
    parts = (engine.weights, engine.cache, engine.working, process, engine.total + process)
    yield _ENGINE_COLUMNS
    yield ("one process", *map(gib, parts))


def _checkpoint_rows(found: Estimate) -> Iterator[Sequence[str]]:
    saved, workers = found.checkpoint, found.parallel.workers
    if found.device.on_gpu:
        workers = min(workers, GPUS_OF_A_MACHINE)
    who = "the worker" if workers == 1 else f"{workers} workers of a machine"
    parts = (saved.copied, saved.gathered, saved.passing, saved.beginning)
    yield _CHECKPOINT_COLUMNS
    yield (who, *map(gib, parts))


def _verdict(need: Need) -> str:
    share = f"{need.bytes / need.has:.0%}"
    end = "fits" if need.fits else "does NOT fit"
    return f"{need.where}: needs {gib(need.bytes)} of {gib(need.has)} GiB ({share}): {end}"


def _aligned(rows: Iterator[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )

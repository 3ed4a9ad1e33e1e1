"""What a crew's processes do: hold one train worker at a time and hand it shares of steps."""

import gc
from typing import Any

from torch import Tensor

from slime.config.schema import LossConfig
from slime.data import TrainSample
from slime.data.metrics import StepGradient, StepMetrics
from slime.data.sharing import MicroBatch
from slime.distributed import Rendezvous
from slime.distributed.ranks import data_rank
from slime.loss import build_loss
from slime.megatron.spec import TrainWorkerSpec

Shares = tuple[tuple[MicroBatch, ...], ...]  # [data-parallel rank][micro-batch][sample]

_here: dict[str, Any] = {}


def open_worker(rank: int, spec: TrainWorkerSpec, port: int) -> None:
    """In the first ranks, as many as the layout needs; what was open before is closed."""
    from slime.megatron.worker import TrainWorker  # here: the test's own process needs no megatron

    if "worker" in _here:
        _here.pop("worker").close()
        gc.collect()  # its process groups keep some forty threads until they are collected
    if rank < spec.parallel.workers:
        meeting = Rendezvous(rank, spec.parallel.workers, "127.0.0.1", port)
        _here.update(worker=TrainWorker(spec, meeting), parallel=spec.parallel)


def gradient(rank: int, loss: LossConfig, shares: Shares) -> StepGradient | None:
    if "worker" not in _here:
        return None
    return _with_loss(loss).gradient(shares[data_rank(rank, _here["parallel"])])


def train(rank: int, loss: LossConfig, shares: Shares) -> tuple[StepMetrics, bytes] | None:
    """A step and the weights it leaves, in this rank's part."""
    if "worker" not in _here:
        return None
    worker = _with_loss(loss)
    metrics = worker.train(shares[data_rank(rank, _here["parallel"])])
    return metrics, worker.export_weights()


def log_probs(rank: int, shares: Shares) -> list[tuple[TrainSample, Tensor]] | None:
    """Samples with their log-probs, where this rank has them."""
    if "worker" not in _here:
        return None
    share = shares[data_rank(rank, _here["parallel"])]
    found = _here["worker"].log_probs(share)
    samples = [sample for micro_batch in share for sample in micro_batch]
    return list(zip(samples, found, strict=True)) if found else []


def _with_loss(loss: LossConfig) -> Any:
    """Another loss in the same worker: starting one for each would take most of the time."""
    worker = _here["worker"]
    worker._loss = build_loss(loss)
    return worker


def logits(_rank: int, sequences: list[list[int]]) -> list[Tensor] | None:
    """Of every token, where this rank has them."""
    return _here["worker"].logits(sequences) if "worker" in _here else None


def weights(_rank: int) -> bytes | None:
    return _here["worker"].export_weights() if "worker" in _here else None

"""Ray actors: thin shells around the plain classes that do the work.

The heavy imports happen inside `start`, so that the driver never loads Megatron (nor its CPU device
layer) and the engine's process never sees it either; and so that an error while starting comes
back as the exception it was instead of "the actor died".
"""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ray

from slime.config.schema import ConfigError, LocalEngine, Precision
from slime.data import TrainSample
from slime.distributed.rendezvous import listen
from slime.rollout.engine import Generation, Request, Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from slime.data.metrics import StepGradient, StepMetrics
    from slime.distributed.rendezvous import Rendezvous
    from slime.megatron.spec import TrainWorkerSpec

MicroBatches = Sequence[Sequence[TrainSample]]


class TrainActor:
    """One rank of the trainer."""

    def __init__(self) -> None:
        self._listener: socket.socket | None = None

    def reserve_address(self, port: int) -> tuple[str, int]:
        """This node's address and a port on it that is this worker's from now on (port 0: any).

        Raises ConfigError when the port asked for is taken.
        """
        address = ray.util.get_node_ip_address()
        try:
            self._listener = listen(address, port)
        except OSError as error:
            raise ConfigError(
                f"cluster.rendezvous_port={port} cannot be had on {address} "
                f"({error.strerror}): choose another, or 0 for any free one"
            ) from error
        return address, self._listener.getsockname()[1]

    def start(self, spec: "TrainWorkerSpec", rendezvous: "Rendezvous") -> None:
        from slime.megatron.worker import TrainWorker

        self._worker = TrainWorker(spec, rendezvous, self._listener)

    def train(self, micro_batches: MicroBatches) -> "StepMetrics":
        return self._worker.train(micro_batches)

    def gradient(self, micro_batches: MicroBatches) -> "StepGradient":
        return self._worker.gradient(micro_batches)

    def log_probs(self, micro_batches: MicroBatches) -> "list[Tensor]":
        return self._worker.log_probs(micro_batches)

    def reference_log_probs(self, micro_batches: MicroBatches) -> "list[Tensor]":
        return self._worker.reference_log_probs(micro_batches)

    def logits_precision(self) -> Precision:
        return self._worker.logits_precision

    def logits(self, sequences: Sequence[Sequence[int]]) -> "list[Tensor]":
        return self._worker.logits(sequences)

    def export_weights(self) -> bytes:
        return self._worker.export_weights()

    def save_weights(self, folder: "Path") -> str | None:
        return self._worker.save_weights(folder)

    def begin_checkpoint(self, folder: "Path") -> None:
        self._worker.begin_checkpoint(folder)

    def has_written_checkpoint(self) -> bool:
        return self._worker.has_written_checkpoint()

    def finish_checkpoint(self) -> "Path":
        return self._worker.finish_checkpoint()

    def load_checkpoint(self, folder: "Path") -> None:
        self._worker.load_checkpoint(folder)

    def close(self) -> None:
        self._worker.close()


class EngineActor:
    """A rollout engine in a process of its own."""

    def start(self, config: LocalEngine, precision: Precision, model_folder: str) -> None:
        from slime.rollout.local import LocalEngine as Engine

        self._engine = Engine(model_folder, config.batch_size, precision)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        return self._engine.generate(requests, sampling)

    def logits(self, sequences: Sequence[Sequence[int]], precision: Precision) -> "list[Tensor]":
        return self._engine.logits(sequences, precision)

    def load_weights(self, *shards: bytes) -> None:
        self._engine.load_weights(shards)

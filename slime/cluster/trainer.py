"""The trainer as the loop sees it: one object, however many ranks stand behind it."""

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import ray
from torch import Tensor

from slime.cluster.actors import TrainActor
from slime.cluster.place import get, place, threads_for
from slime.config.schema import ClusterConfig, ParallelConfig, Precision
from slime.data import Step, TrainSample
from slime.data.metrics import NOTHING_TO_TRAIN, StepGradient, StepMetrics
from slime.data.sharing import MicroBatch, Sharing, build_sharing
from slime.distributed.ranks import data_rank, speaker
from slime.distributed.rendezvous import Rendezvous
from slime.megatron.spec import TrainWorkerSpec

_CLOSE_SECONDS = 10.0

Shares = Sequence[Sequence[MicroBatch]]  # [data-parallel rank][micro-batch]


@dataclass(frozen=True, slots=True)
class Trainer:
    """All train workers.  Every call runs on all of them and returns when the last is done.

    Threads may call: the workers get all calls in the same order.
    """

    actors: tuple[Any, ...]
    parallel: ParallelConfig
    share: Sharing
    turn: Lock = field(default_factory=Lock)

    def train(self, step: Step) -> StepMetrics:
        """One optimizer step.  A step without any active token is skipped."""
        if step.active_tokens == 0:
            return NOTHING_TO_TRAIN
        metrics: list[StepMetrics] = self._on_each(
            lambda actor, part: actor.train.remote(part), self.share(step.samples)
        )
        return metrics[0]

    def gradient(self, step: Step) -> StepGradient:
        """What train would report, and the gradient of the step's loss; nothing is changed.

        Raises ValueError for a step without any active token.
        """
        if step.active_tokens == 0:
            raise ValueError("a step without an active token has no gradient")
        found: list[StepGradient] = self._on_each(
            lambda actor, part: actor.gradient.remote(part), self.share(step.samples)
        )
        return StepGradient(found[0].metrics, tuple(s for one in found for s in one.shards))

    def with_old_log_probs(self, steps: Sequence[Step]) -> list[Step]:
        """The same steps, each sample with the trainer's log-probs before the first of them."""
        return [
            self._with(step, lambda actor, part: actor.log_probs.remote(part), _set_old)
            for step in steps
        ]

    def with_reference_log_probs(self, steps: Sequence[Step]) -> list[Step]:
        """The same steps, each sample with the log-probs of the frozen starting model."""
        return [
            self._with(step, lambda actor, part: actor.reference_log_probs.remote(part), _set_ref)
            for step in steps
        ]

    def logits_precision(self) -> Precision:
        """What logits() computes in."""
        found: Precision = get(self.actors[0].logits_precision.remote())
        return found

    def logits(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """What follows each token, under the current weights.  -> per sequence, [T, V] float32"""
        answers: list[list[Tensor]] = get(self._ask(lambda a: a.logits.remote(sequences)))
        return next(answer for answer in answers if answer)

    def weights(self) -> list[Any]:
        """References to the safetensors shards of the current weights, under Hugging Face names."""
        return self._ask(lambda actor: actor.export_weights.remote())

    def save_weights(self, folder: Path, timeout_seconds: float | None = None) -> None:
        """Write what weights() refers to into `folder`: every worker its part, to the disk.

        Raises OSError when the disk does not take it, or not all of it is seen here.
        """
        names = get(self._ask(lambda a: a.save_weights.remote(folder)), timeout_seconds)
        _refuse_other_disks(folder, [name for name in names if name is not None])

    def begin_checkpoint(self, folder: Path, timeout_seconds: float | None = None) -> None:
        """Every worker has copied what it will write to `folder` when this returns."""
        get(self._ask(lambda actor: actor.begin_checkpoint.remote(folder)), timeout_seconds)

    def has_written_checkpoint(self) -> bool:
        """Whether finish_checkpoint() would not have to wait."""
        return all(get(self._ask(lambda actor: actor.has_written_checkpoint.remote())))

    def finish_checkpoint(self) -> None:
        """All of it is in the folder.  Raises OSError as save_weights() does."""
        for file in get(self._ask(lambda actor: actor.finish_checkpoint.remote())):
            _refuse_other_disks(file.parent, [file.name])

    def load_checkpoint(self, folder: Path) -> None:
        """Go on from there.  Raises ConfigError for a checkpoint of another model."""
        get(self._ask(lambda actor: actor.load_checkpoint.remote(folder)))

    def close(self) -> None:
        """For the end of a run that went well: the workers part from each other.

        Those that do not soon are ended all the same.
        """
        with suppress(TimeoutError):
            get(self._ask(lambda actor: actor.close.remote()), _CLOSE_SECONDS)

    def _ask(self, call: Callable[[Any], Any]) -> list[Any]:
        """-> a reference to the answer of each worker"""
        with self.turn:
            return [call(actor) for actor in self.actors]

    def _on_each(self, call: Callable[[Any, Any], Any], shares: Shares) -> Any:
        """The ranks of one model work on the same share, which is stored once for all of them."""
        stored = [ray.put(part) for part in shares]
        with self.turn:
            answers = [
                call(actor, stored[data_rank(rank, self.parallel)])
                for rank, actor in enumerate(self.actors)
            ]
        return get(answers)

    def _with(
        self,
        step: Step,
        call: Callable[[Any, Any], Any],
        attach: Callable[[TrainSample, Tensor], TrainSample],
    ) -> Step:
        shares = self.share(step.samples)
        answers = self._on_each(call, shares)
        found: dict[int, Tensor] = {}
        for rank, part in enumerate(shares):
            samples = [sample for micro_batch in part for sample in micro_batch]
            log_probs = answers[speaker(rank, self.parallel)]
            found |= {id(s): values for s, values in zip(samples, log_probs, strict=True)}
        return replace(step, samples=tuple(attach(s, found[id(s)]) for s in step.samples))


def _refuse_other_disks(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise OSError(
                errno.ENOENT,
                f"a train worker wrote {name} where it is not seen from here: the run directory "
                "must be on a file system that all machines share",
            )


def _set_old(sample: TrainSample, log_probs_R: Tensor) -> TrainSample:
    return replace(sample, old_log_probs_R=log_probs_R)


def _set_ref(sample: TrainSample, log_probs_R: Tensor) -> TrainSample:
    return replace(sample, reference_log_probs_R=log_probs_R)


def start_trainer(
    spec: TrainWorkerSpec, cluster: ClusterConfig, gpus: float
) -> tuple[Trainer, list[Any]]:
    """Place the train workers; the second value is what to `get` before the first use of them."""
    size = spec.parallel.workers
    actors = tuple(
        place(TrainActor, cluster, threads=threads_for(size), gpus=gpus) for _ in range(size)
    )
    address, port = get(actors[0].reserve_address.remote(cluster.rendezvous_port))
    starting = [
        actor.start.remote(spec, Rendezvous(rank, size, address, port))
        for rank, actor in enumerate(actors)
    ]
    return Trainer(actors, spec.parallel, build_sharing(spec.parallel)), starting

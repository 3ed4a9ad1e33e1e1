"""The trainer as the loop sees it: one object, however many ranks stand behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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

Shares = Sequence[Sequence[MicroBatch]]  # [data-parallel rank][micro-batch]


@dataclass(frozen=True, slots=True)
class Trainer:
    """All train workers.  Every call runs on all of them and returns when the last is done."""

    actors: tuple[Any, ...]
    parallel: ParallelConfig
    share: Sharing

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
        answers: list[list[Tensor]] = get([a.logits.remote(sequences) for a in self.actors])
        return next(answer for answer in answers if answer)

    def weights(self) -> list[Any]:
        """References to the safetensors shards of the current weights, under Hugging Face names."""
        return [actor.export_weights.remote() for actor in self.actors]

    def begin_checkpoint(self, folder: Path) -> None:
        """Every worker has copied what it will write to `folder` when this returns."""
        get([actor.begin_checkpoint.remote(folder) for actor in self.actors])

    def has_written_checkpoint(self) -> bool:
        """Whether finish_checkpoint() would not have to wait."""
        return all(get([actor.has_written_checkpoint.remote() for actor in self.actors]))

    def finish_checkpoint(self) -> None:
        """All of it is in `folder`.  Raises OSError when the disk did not take it."""
        get([actor.finish_checkpoint.remote() for actor in self.actors])

    def load_checkpoint(self, folder: Path) -> None:
        """Go on from there.  Raises ConfigError for a checkpoint of another model."""
        get([actor.load_checkpoint.remote(folder) for actor in self.actors])

    def close(self) -> None:
        get([actor.close.remote() for actor in self.actors])

    def _on_each(self, call: Callable[[Any, Any], Any], shares: Shares) -> Any:
        """The ranks of one model work on the same share, which is stored once for all of them."""
        stored = [ray.put(part) for part in shares]
        return get(
            [
                call(actor, stored[data_rank(rank, self.parallel)])
                for rank, actor in enumerate(self.actors)
            ]
        )

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

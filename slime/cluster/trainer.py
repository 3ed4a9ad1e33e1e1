"""The trainer as the loop sees it: one object, however many ranks stand behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from slime.cluster.actors import TrainActor
from slime.cluster.place import get, place, threads_for
from slime.config.schema import ClusterConfig
from slime.data import Step, TrainSample
from slime.data.layout import share
from slime.data.metrics import NOTHING_TO_TRAIN, StepMetrics
from slime.distributed.rendezvous import Rendezvous
from slime.megatron.spec import TrainWorkerSpec


@dataclass(frozen=True, slots=True)
class Trainer:
    """All train workers.  Every call runs on all of them and returns when the last is done."""

    actors: tuple[Any, ...]
    max_tokens_per_microbatch: int

    def train(self, step: Step) -> StepMetrics:
        """One optimizer step.  A step without any active token is skipped."""
        if step.active_tokens == 0:
            return NOTHING_TO_TRAIN
        shares = self._share(step.samples)
        metrics: list[StepMetrics] = self._on_each(
            lambda actor, part: actor.train.remote(part), shares
        )
        return metrics[0]

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

    def weights(self) -> list[Any]:
        """References to the safetensors shards of the current weights, under Hugging Face names."""
        return [actor.export_weights.remote() for actor in self.actors]

    def close(self) -> None:
        get([actor.close.remote() for actor in self.actors])

    def _share(self, samples: Sequence[TrainSample]) -> tuple[Any, ...]:
        return share(samples, len(self.actors), self.max_tokens_per_microbatch)

    def _on_each(self, call: Callable[[Any, Any], Any], shares: Sequence[Any]) -> Any:
        return get([call(*pair) for pair in zip(self.actors, shares, strict=True)])

    def _with(
        self,
        step: Step,
        call: Callable[[Any, Any], Any],
        attach: Callable[[TrainSample, Tensor], TrainSample],
    ) -> Step:
        shares = self._share(step.samples)
        found: dict[int, Tensor] = {}
        for part, log_probs in zip(shares, self._on_each(call, shares), strict=True):
            samples = [sample for micro_batch in part for sample in micro_batch]
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
    size = spec.parallel.data
    actors = tuple(
        place(TrainActor, cluster, threads=threads_for(size), gpus=gpus) for _ in range(size)
    )
    address, port = get(actors[0].reserve_address.remote(cluster.rendezvous_port))
    starting = [
        actor.start.remote(spec, Rendezvous(rank, size, address, port))
        for rank, actor in enumerate(actors)
    ]
    return Trainer(actors, spec.parallel.max_tokens_per_microbatch), starting

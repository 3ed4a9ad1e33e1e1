"""The rollout engine as the loop sees it: the Engine protocol, with a Ray actor behind it.

The actor may die or hang.  Another one takes its place, gets the weights, and is asked again: the
same request on the same weights gives the same tokens, so nothing shows but the time it took.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError
from torch import Tensor

from slime.cluster.actors import EngineActor
from slime.cluster.lost import DEATHS, WorkersLostError, explained, ray_is_up
from slime.cluster.place import get, place, threads_for
from slime.cluster.restarts import Restarts
from slime.config.schema import ClusterConfig, LocalEngine, Precision
from slime.rollout.engine import Generation, Request, Sampling

_START_SECONDS = 600.0  # at most, to import libraries and read the model

# -> a new actor, and what to `get` before its first use
Place = Callable[[], tuple[Any, Any]]


class EngineLostError(RuntimeError):
    """The engine has died or hung more often than it may."""


class RemoteEngine:
    """An Engine in another process."""

    def __init__(
        self, place: Place, batch_size: int, config: ClusterConfig, restarts: Restarts
    ) -> None:
        """batch_size: rollouts that one call asks for, and that are lost with an engine."""
        self._place = place
        self._batch_size = batch_size
        self._config = config
        self._restarts = restarts
        self._left = config.max_restarts
        self._shards: Sequence[Any] = ()
        self._actor, self.starting = place()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Raises EngineLostError when it has died or hung too often, WorkersLostError with Ray."""
        generations: list[Generation] = []
        for batch in _batches(requests, self._batch_size):
            generations += self._answer(partial(self._generate, list(batch), sampling))
        return generations

    def _generate(self, batch: list[Request], sampling: Sampling) -> Any:
        return self._actor.generate.remote(batch, sampling)

    def logits(self, sequences: Sequence[Sequence[int]], precision: Precision) -> list[Tensor]:
        """What follows each token, computed in `precision`.  -> per sequence, [T, V] float32"""
        found: list[Tensor] = self._answer(lambda: self._actor.logits.remote(sequences, precision))
        return found

    def load_weights(self, shards: Sequence[Any]) -> None:
        """shards: references to weights; the bytes go from worker to worker, not through here."""
        self._shards = shards
        self._answer(lambda: self._actor.load_weights.remote(*shards))

    def _answer(self, ask: Callable[[], Any]) -> Any:
        while True:
            try:
                return self._wait_for(ask(), self._config.engine_timeout_seconds)
            except _EngineGone as gone:
                self._replace(str(gone))

    def _wait_for(self, reference: Any, seconds: float) -> Any:
        try:
            ended, _ = ray.wait([reference], timeout=seconds)
            if not ended:
                raise _EngineGone(
                    f"it took longer than {seconds:g} seconds, cluster.engine_timeout_seconds"
                )
            return get(reference)
        except WorkersLostError as lost:
            if _is_of(lost.__cause__, self._actor):
                raise _EngineGone(str(lost)) from lost
            raise

    def _replace(self, reason: str) -> None:
        """Another actor that stands where this one stood."""
        if self._left == 0:
            raise EngineLostError(
                f"the rollout engine is lost again, after cluster.max_restarts="
                f"{self._config.max_restarts} restarts: {reason}"
            )
        if not ray_is_up():
            raise WorkersLostError(reason)
        self._left -= 1
        self._restarts.engine_lost(reason)
        try:
            ray.kill(self._actor)
            self._actor, self.starting = self._place()
        except DEATHS as death:
            raise explained(death) from death
        try:
            self._wait_for(self.starting, max(_START_SECONDS, self._config.engine_timeout_seconds))
        except _EngineGone as gone:
            self._replace(str(gone))
        if self._shards:
            self._answer(lambda: self._actor.load_weights.remote(*self._shards))


class _EngineGone(Exception):  # noqa: N818 - handled here
    pass


def _is_of(death: BaseException | None, actor: Any) -> bool:
    return isinstance(death, RayActorError) and death.actor_id == actor._actor_id.hex()


def _batches(requests: Sequence[Request], size: int) -> Iterator[Sequence[Request]]:
    return (requests[start : start + size] for start in range(0, len(requests), size))


def start_engine(
    config: LocalEngine,
    precision: Precision,
    model_folder: str,
    cluster: ClusterConfig,
    gpus: float,
    restarts: Restarts,
) -> tuple[RemoteEngine, list[Any]]:
    """Place the engine; the second value is what to `get` before the first use of it."""

    def place_engine() -> tuple[Any, Any]:
        actor = place(EngineActor, cluster, threads=threads_for(1), gpus=gpus)
        return actor, actor.start.remote(config, precision, model_folder)

    engine = RemoteEngine(place_engine, config.batch_size, cluster, restarts)
    return engine, [engine.starting]

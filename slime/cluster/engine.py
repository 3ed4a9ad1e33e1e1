"""The rollout engine as the loop sees it: the Engine protocol, with a Ray actor behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from slime.cluster.actors import EngineActor
from slime.cluster.place import get, place, threads_for
from slime.config.schema import ClusterConfig, LocalEngine, Precision
from slime.rollout.engine import Generation, Request, Sampling


@dataclass(frozen=True, slots=True)
class RemoteEngine:
    """An Engine in another process."""

    actor: Any

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        generations: list[Generation] = get(self.actor.generate.remote(list(requests), sampling))
        return generations

    def logits(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """What follows each token.  -> per sequence, [T, V] float32"""
        found: list[Tensor] = get(self.actor.logits.remote(sequences))
        return found

    def load_weights(self, shards: Sequence[Any]) -> None:
        """shards: references to weights; the bytes go from worker to worker, not through here."""
        get(self.actor.load_weights.remote(*shards))


def start_engine(
    config: LocalEngine,
    precision: Precision,
    model_folder: str,
    cluster: ClusterConfig,
    gpus: float,
) -> tuple[RemoteEngine, list[Any]]:
    """Place the engine; the second value is what to `get` before the first use of it."""
    actor = place(EngineActor, cluster, threads=threads_for(1), gpus=gpus)
    return RemoteEngine(actor), [actor.start.remote(config, precision, model_folder)]

"""How the step is taken and where: optimizer, cluster."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from slime.config.schema.base import MISSING, Node, key, not_negative, positive, texts


class Schedule(Enum):
    """The learning rate after warm-up."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"


@dataclass(slots=True, kw_only=True)
class OptimizerConfig(Node):
    """How gradients become updates."""

    name: str = MISSING


@dataclass(slots=True, kw_only=True)
class AdamConfig(OptimizerConfig):
    """AdamW."""

    name: str = "adam"
    learning_rate: float = key("peak learning rate", 2e-5)
    min_learning_rate: float = key("where linear and cosine schedules end", 0.0)
    schedule: Schedule = key("after warm-up: constant | linear | cosine", Schedule.constant)
    warmup_steps: int = key("optimizer steps of linear warm-up", 0, unit="steps")
    beta1: float = key("decay of the first moment", 0.9)
    beta2: float = key("decay of the second moment", 0.95)
    eps: float = key(
        "Adam's epsilon; so small that a constant factor on the loss does not change the update",
        1e-20,  # below 1e-22 squares of gradients underflow in float32, and m / eps explodes
    )
    weight_decay: float = key("decoupled weight decay", 0.0)
    clip_grad: float = key("largest gradient norm (0: no clipping)", 1.0)

    def idle(self) -> frozenset[str]:
        return frozenset({"min_learning_rate"} if self.schedule is Schedule.constant else ())

    def problems(self) -> Iterator[str]:
        yield from positive("optimizer.learning_rate", self.learning_rate)
        yield from not_negative("optimizer.min_learning_rate", self.min_learning_rate)
        if self.min_learning_rate > self.learning_rate > 0:
            yield (
                f"optimizer.min_learning_rate={self.min_learning_rate} is above "
                f"optimizer.learning_rate={self.learning_rate}"
            )
        yield from not_negative("optimizer.warmup_steps", self.warmup_steps)
        for name, beta in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not 0 <= beta < 1:
                yield f"optimizer.{name} must be in [0, 1), got {beta}"
        yield from positive("optimizer.eps", self.eps)
        yield from not_negative("optimizer.weight_decay", self.weight_decay)
        yield from not_negative("optimizer.clip_grad", self.clip_grad)

    def warnings(self) -> Iterator[str]:
        if self.schedule is Schedule.constant and self.min_learning_rate > 0:
            yield (
                f"optimizer.min_learning_rate={self.min_learning_rate:g} is never reached under "
                f"optimizer.schedule=constant"
            )


def _address_problems(address: str) -> Iterator[str]:
    found = re.fullmatch(r"auto|[^\s/]+:(\d+)", address)
    if found is None:
        yield f"cluster.address must be auto, host:port or null, got {address!r}"
    elif found[1] and not 0 < int(found[1]) <= 65535:
        yield f"cluster.address={address}: a port is a number from 1 to 65535"


@dataclass(slots=True, kw_only=True)
class ClusterConfig(Node):
    """Where the workers run."""

    address: str | None = key(
        "the Ray cluster to join, auto or host:port (null: a private one on this machine)",
        None,
        trains=False,
    )
    rendezvous_port: int = key(
        "port on which the train workers meet (0: any free one)", 0, trains=False
    )
    max_restarts: int = key(
        "how often a run starts its train workers again, and how often its engine, after one of "
        "them died or hung",
        3,
        trains=False,
        unit="restarts",
        since="0.3",
    )
    engine_timeout_seconds: float = key(
        "an engine that takes longer for one batch of rollouts has hung",
        1800.0,
        trains=False,
        unit="seconds",
        since="0.3",
    )

    allowed_imports: list[str] = texts(
        "with cluster.address: packages or modules that loss.function and reward.function may be "
        "imported from; only the command line may set it",
        trains=False,
        since="0.3",
    )

    def problems(self) -> Iterator[str]:
        for prefix in self.allowed_imports:
            if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", prefix):
                yield f"cluster.allowed_imports holds {prefix!r}: write package or package.module"
        if self.address is not None:
            yield from _address_problems(self.address)
        if not 0 <= self.rendezvous_port <= 65535:
            yield f"cluster.rendezvous_port must be in [0, 65535], got {self.rendezvous_port}"
        yield from not_negative("cluster.max_restarts", self.max_restarts)
        yield from positive("cluster.engine_timeout_seconds", self.engine_timeout_seconds)

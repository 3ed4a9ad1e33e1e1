"""Where metrics go beside metrics.jsonl: a class per tracking choice.

No class has a key for a password or an API key: what is in the config is written to resolved.yaml.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from slime.config.schema.base import MISSING, Node, key, not_empty, not_negative


@dataclass(slots=True, kw_only=True)
class TrackingConfig(Node):
    """Where metrics go beside metrics.jsonl."""

    name: str = MISSING
    samples_per_iteration: int = key(
        "decoded rollouts written to samples.jsonl each iteration", 4, trains=False, unit="rollouts"
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative("tracking.samples_per_iteration", self.samples_per_iteration)


@dataclass(slots=True, kw_only=True)
class NoTracking(TrackingConfig):
    """metrics.jsonl only."""

    name: str = "none"


@dataclass(slots=True, kw_only=True)
class TensorBoardTracking(TrackingConfig):
    """TensorBoard events in the run directory."""

    name: str = "tensorboard"


class WandbMode(Enum):
    """Whether anything leaves this machine."""

    offline = "offline"
    online = "online"


@dataclass(slots=True, kw_only=True)
class WandbTracking(TrackingConfig):
    """Weights & Biases; a file in the run directory unless it is told to go online."""

    name: str = "wandb"
    project: str = key("W&B project", "slime", trains=False, since="0.2")
    group: str | None = key(
        "W&B group of runs to compare (null: the name of the sweep, if this is a job of one)",
        None,
        trains=False,
        since="0.2",
    )
    run_name: str | None = key(
        "W&B's name for the run (null: that of the run directory)", None, trains=False, since="0.2"
    )
    mode: WandbMode = key(
        "offline (nothing leaves this machine; upload it later with wandb sync) | online",
        WandbMode.offline,
        trains=False,
        since="0.2",
    )

    def problems(self) -> Iterator[str]:
        yield from TrackingConfig.problems(self)  # zero-argument super() breaks under slots=True
        yield from not_empty("tracking.project", self.project)
        yield from not_empty("tracking.group", self.group)
        yield from not_empty("tracking.run_name", self.run_name)


@dataclass(slots=True, kw_only=True)
class MlflowTracking(TrackingConfig):
    """MLflow; an SQLite file in the run directory unless a server or another file is named."""

    name: str = "mlflow"
    uri: str | None = key(
        "MLflow tracking store, http(s)://host:port or sqlite:///file.db (null: mlflow.db in the "
        "run directory)",
        None,
        trains=False,
        since="0.2",
    )
    experiment: str = key("MLflow experiment", "slime", trains=False, since="0.2")
    run_name: str | None = key(
        "MLflow's name for the run (null: that of the run directory)",
        None,
        trains=False,
        since="0.2",
    )

    def problems(self) -> Iterator[str]:
        yield from TrackingConfig.problems(self)
        yield from not_empty("tracking.experiment", self.experiment)
        yield from not_empty("tracking.run_name", self.run_name)
        if self.uri is not None:
            yield from _uri_problems(self.uri)


def _uri_problems(uri: str) -> Iterator[str]:
    if re.search(r":.*@", uri.split("://")[-1]):
        yield (  # without the value: this line may end up in a log
            "tracking.uri must not hold a password, it would be written to resolved.yaml: drop it "
            "and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
        )
    elif not re.fullmatch(_STORES, uri):
        yield (
            "tracking.uri must be http(s)://host:port, sqlite:///file.db, another database's URI "
            f"or null, got {uri!r}"
        )


# MLflow's own list, without the folder of files, which it has stopped to maintain.
_STORES = r"https?://.+|(sqlite|postgresql|mysql|mssql)(\+\w+)?://.+|databricks(://.+)?"

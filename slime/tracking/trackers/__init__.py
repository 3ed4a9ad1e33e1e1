"""A file for each tracker; each imports its own library, and only when it is chosen."""

import os
from pathlib import Path

from slime.config.schema import (
    MlflowTracking,
    TensorBoardTracking,
    TrackingConfig,
    WandbTracking,
)
from slime.tracking.facts import read_facts
from slime.tracking.past import Past
from slime.tracking.tracker import Tracker

# What the libraries read when they are imported or make a request.  Nothing is reported to their
# makers, and a server that is down is given up after half a minute.  What the user has set stays.
_ENVIRONMENT = {
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def open_tracker(
    config: TrackingConfig, run_directory: Path, past: Past | None = None
) -> Tracker | None:
    """What the tracking group chose beside metrics.jsonl; None for none.

    past: of a run that goes on; metrics.jsonl holds what it had reported.
    Raises whatever the tracker's library raises when it cannot start.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    match config:
        case TensorBoardTracking():
            from slime.tracking.trackers.tensorboard import TensorBoard

            return TensorBoard(read_facts(run_directory), past)
        case WandbTracking():
            from slime.tracking.trackers.wandb import Wandb

            return Wandb(config, read_facts(run_directory), past)
        case MlflowTracking():
            from slime.tracking.trackers.mlflow import Mlflow

            return Mlflow(config, read_facts(run_directory), past)
        case _:
            return None

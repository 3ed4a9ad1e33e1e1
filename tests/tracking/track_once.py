"""A child process that tracks one tiny run.  Arguments: a tracker's name, a run directory."""

import sys
from pathlib import Path

from slime.config.schema import MlflowTracking, WandbTracking
from slime.tracking.tracker import RunState, points
from slime.tracking.trackers import open_tracker

if __name__ == "__main__":
    name, directory = sys.argv[1:]
    config = {"wandb": WandbTracking(), "mlflow": MlflowTracking()}[name]
    tracker = open_tracker(config, Path(directory))
    tracker.write(list(points({"iteration": 0, "step": 0, "train/loss": 0.5}, 0)))
    tracker.close(RunState.finished)

"""What can be known about the workers of a run before Ray is imported."""

import os
from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ClusterConfig, ParallelConfig

_WORKERS_PER_CORE = 16


def problems(cluster: ClusterConfig, parallel: ParallelConfig) -> Iterator[str]:
    """One line for more train workers than this machine can start, where they start on it."""
    if cluster.address is None:
        yield from crowd_problems(parallel.workers)


def crowd_problems(train_workers: int) -> Iterator[str]:
    """Some workers a core are good for trying a layout out; thousands are a slip of the pen."""
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    most = max(_WORKERS_PER_CORE * cores(), gpus)
    if train_workers > most:
        yield (
            f"parallel.data x context x tensor x pipeline = {train_workers} train workers are more "
            f"than this machine can run, at most {most}: write smaller ones, or cluster=existing"
        )


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))

"""Where an actor runs and what it gets: cores, a GPU, the environment of its process."""

from typing import Any

import ray
from ray.exceptions import RayTaskError

from slime.cluster.check import cores
from slime.cluster.ending import placed
from slime.cluster.lost import DEATHS, death_behind, explained
from slime.config.schema import ClusterConfig, ConfigError


def place(actor: type, config: ClusterConfig, *, threads: int, gpus: float) -> Any:
    """The handle of a new actor process with this many compute threads and this share of a GPU.

    Ray would give each process one OpenMP thread; generation and training alternate, so each may
    have all cores, and the one that waits must not spin on them (PASSIVE).
    """
    environment = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    if config.address is None:
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    remote = ray.remote(
        num_cpus=1,
        num_gpus=gpus,
        runtime_env={"env_vars": environment},
    )(actor)
    return placed(remote.remote())


def threads_for(workers: int) -> int:
    return max(1, cores() // workers)


def get(references: Any, timeout_seconds: float | None = None) -> Any:
    """ray.get, with the worker's own error where the loop or the user can do something about it.

    Raises WorkersLostError where a worker has died, and TimeoutError when the time is over.
    """
    try:
        return ray.get(references, timeout=timeout_seconds)
    except RayTaskError as error:
        if isinstance(error.cause, ConfigError | FloatingPointError | OSError):
            raise error.cause from error
        if isinstance(error.cause, DEATHS):  # of a worker that this one waited for
            raise explained(error.cause) from error.cause
        if isinstance(references, list) and (death := death_behind(references)) is not None:
            raise explained(death) from death
        raise
    except DEATHS as death:
        raise explained(death) from death

"""Our own Ray on this machine, or somebody's that is already running."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
import torch
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)

from slime.config.schema import ClusterConfig, ConfigError

_CONNECT_SECONDS = 5.0
_WORKERS_PER_CORE = 16


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class GpuShares:
    """How much of a GPU each actor gets."""

    train_worker: float
    engine: float


@contextmanager
def ray_session(config: ClusterConfig, train_workers: int, engines: int) -> Iterator[GpuShares]:
    """Ray is up inside the block and gone, with every process it started, after it.

    A private Ray advertises one CPU per actor: on a small machine the actors take turns anyway,
    and scheduling must never wait for a core that does not exist.
    Raises ConfigError when the cluster at config.address cannot be reached, or has no room.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    terminate = signal.getsignal(signal.SIGTERM)
    actors = train_workers + engines
    if config.address is None:
        _refuse_a_crowd(train_workers)
        _start_private_ray(actors)
    else:
        _join(config.address)
    # Ray has put a handler of its own there, which exits at once; ours lets a run end well.
    signal.signal(signal.SIGTERM, terminate)
    try:
        free = ray.available_resources()
        if free.get("CPU", 0) < actors:
            raise ConfigError(
                f"cluster.address={config.address}: the cluster has {free.get('CPU', 0):g} free "
                f"CPUs and this run needs {actors}, one for each worker: wait for others to end, "
                "or write cluster=local for a private Ray"
            )
        yield gpu_shares(int(free.get("GPU", 0)), train_workers, engines)
    finally:
        ray.shutdown()


def gpu_shares(gpus: int, train_workers: int, engines: int) -> GpuShares:
    """A GPU for every actor where there are enough; else each engine shares a train worker's.

    The shares are such that two train workers never meet on one GPU, which NCCL does not allow.
    Raises ConfigError when there are fewer GPUs than train workers, but some.
    """
    if gpus == 0:
        return GpuShares(0, 0)
    if gpus < train_workers:
        raise ConfigError(
            f"parallel.data x context x tensor x pipeline = {train_workers} train workers need a "
            f"GPU each, and {gpus} are free: write a smaller parallel.data"
        )
    if gpus >= train_workers + engines:
        return GpuShares(1, 1)
    return GpuShares(0.6, 0.4)


def _refuse_a_crowd(train_workers: int) -> None:
    """Some workers a core are good for trying a layout out; thousands are a slip of the pen."""
    most = max(_WORKERS_PER_CORE * cores(), torch.cuda.device_count())
    if train_workers > most:
        raise ConfigError(
            f"parallel.data x context x tensor x pipeline = {train_workers} train workers are more "
            f"than this machine can run, at most {most}: write smaller ones, or cluster=existing"
        )


def _start_private_ray(actors: int) -> None:
    # Ray's own switch between one node and a cluster: on one node every server listens on the
    # loopback interface only.  Its variable is read when Ray is imported, hence the constant.
    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(
        address="local",
        num_cpus=max(actors, cores()),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _join(address: str) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_constants.ENABLE_RAY_CLUSTER = True
    try:
        if address != "auto":  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        # Ray shows its token by itself only to a cluster that it found by itself.
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"cluster.address={address}: no Ray cluster answers ({reason}); start one with "
            "'ray start --head', or write cluster=local for a private one"
        ) from error

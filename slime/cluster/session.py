"""Our own Ray on this machine, or somebody's that is already running."""

import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)

from slime.cluster.check import cores, crowd_problems
from slime.cluster.ending import end_actors, forget_actors, wait_for_all_resources
from slime.cluster.kept import KeptRay, end_kept_ray, environment, keep, keeps_ray, kept_ray
from slime.config.schema import ClusterConfig, ConfigError

_CONNECT_SECONDS = 5.0
_TRIES, _TRY_SECONDS = 20, 0.1


@dataclass(frozen=True, slots=True)
class GpuShares:
    """How much of a GPU each actor gets."""

    train_worker: float
    engine: float


@contextmanager
def ray_session(config: ClusterConfig, train_workers: int, engines: int) -> Iterator[GpuShares]:
    """Ray is up inside the block; after it, every actor that was placed there is gone.

    So is Ray itself with every process it started, unless slime.cluster.kept has it wait for the
    next job.  A private Ray advertises one CPU per actor: on a small machine the actors take turns
    anyway, and scheduling must never wait for a core that does not exist.
    Raises ConfigError when the cluster at config.address cannot be reached, or has no room.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    terminate = signal.getsignal(signal.SIGTERM)
    actors = train_workers + engines
    try:
        end = _ray_for(config, train_workers, actors)
    except SystemExit as ended:  # by SIGTERM, for which Ray has a handler while it starts
        ray.shutdown()
        raise KeyboardInterrupt from ended
    # Ray has put a handler of its own there, which exits at once; ours lets a run end well.
    signal.signal(signal.SIGTERM, terminate)
    with _ended_by(end):
        free = _free_resources(actors)
        if free.get("CPU", 0) < actors:
            raise ConfigError(
                f"cluster.address={config.address}: the cluster has {free.get('CPU', 0):g} free "
                f"CPUs and this run needs {actors}, one for each worker: wait for others to end, "
                "or write cluster=local for a private Ray"
            )
        yield gpu_shares(int(free.get("GPU", 0)), train_workers, engines)


@contextmanager
def _ended_by(end: Callable[[], None]) -> Iterator[None]:
    """What went wrong inside is told, not that the end then went wrong too."""
    try:
        yield
    except BaseException:
        try:
            end()
        except Exception as second:
            print(f"warning: {second}", file=sys.stderr)
        raise
    end()


def _ray_for(config: ClusterConfig, train_workers: int, actors: int) -> Callable[[], None]:
    """-> what ends the job there"""
    if config.address is not None:
        end_kept_ray()
        return _join(config.address)
    for problem in crowd_problems(train_workers):
        raise ConfigError(problem)
    return _private_ray(max(actors, cores()))


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


def _private_ray(cpus: int) -> Callable[[], None]:
    """Start one, or take the one that an earlier job has left.  -> what ends the job"""
    gc.collect()  # a cycle that holds references to weights of that job keeps them in Ray
    if kept_ray(cpus) is None:
        _start_private_ray(cpus)
        if not keeps_ray():
            return _stop
        keep(KeptRay(cpus, environment(), _stop))
    return _leave_to_the_next_job


def _stop() -> None:
    forget_actors()
    ray.shutdown()


def _leave_to_the_next_job() -> None:
    try:
        end_actors()
        wait_for_all_resources()
    except Exception:
        end_kept_ray()  # the next job may not find it like this; it starts another


def _start_private_ray(cpus: int) -> None:
    # Ray's own switch between one node and a cluster: on one node every server listens on the
    # loopback interface only.  Its variable is read when Ray is imported, hence the constant.
    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _join(address: str) -> Callable[[], None]:
    """-> what ends the job there"""
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_constants.ENABLE_RAY_CLUSTER = True
    try:
        if address != "auto":  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
            ray_constants.ENABLE_RAY_CLUSTER = not _is_on_loopback_only(host, int(port))
        # Ray shows its token by itself only to a cluster that it found by itself.
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"cluster.address={address}: no Ray cluster answers ({reason}); start one with "
            "'ray start --head', or write cluster=local for a private one"
        ) from error
    return _leave


def _is_on_loopback_only(host: str, port: int) -> bool:
    """Ray takes 127.0.0.1 for another name of the machine, where nobody may be listening."""
    if host not in ("127.0.0.1", "localhost"):
        return False
    try:
        own = ray.util.get_node_ip_address()
        socket.create_connection((own, port), _CONNECT_SECONDS).close()
    except OSError:
        return True
    return False


def _leave() -> None:
    try:
        end_actors()
    finally:
        _stop()


def _free_resources(cpus: int) -> dict[str, float]:
    """What Ray has to give.  What another job had comes back a moment after that has ended."""
    for _ in range(_TRIES):
        free: dict[str, float] = ray.available_resources()
        if free.get("CPU", 0) >= cpus:
            break
        time.sleep(_TRY_SECONDS)
    return free

"""Our own Ray on this machine, or somebody's that is already running."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from slime.config.schema import ClusterConfig, ConfigError

LOOPBACK = "127.0.0.1"


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def ray_session(config: ClusterConfig, actors: int) -> Iterator[None]:
    """Ray is up inside the block and gone, with every process it started, after it.

    A private Ray advertises one CPU per actor: on a small machine the actors take turns anyway,
    and scheduling must never wait for a core that does not exist.
    Raises ConfigError when the cluster at config.address cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    terminate = signal.getsignal(signal.SIGTERM)
    if config.address is None:
        _start_private_ray(actors)
    else:
        _join(config.address)
    # Ray has put a handler of its own there, which exits at once; ours lets a run end well.
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        ray.shutdown()


def _start_private_ray(actors: int) -> None:
    ray.init(
        address="local",
        num_cpus=max(actors, cores()),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address=LOOPBACK,
    )


def _join(address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"cluster.address={address}: no Ray cluster answers ({reason}); start one with "
            "'ray start --head', or write cluster=local for a private one"
        ) from error

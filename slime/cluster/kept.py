"""One private Ray for all jobs of a sweep that run in this process.  Imports no Ray.

Starting Ray costs more than a small job.  What a job placed there is gone before the next one
starts (slime.cluster.session); where that one needs more than there is, a larger Ray starts.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class KeptRay:
    """A Ray that is up.  environment: that of this process, which Ray's processes inherited."""

    cpus: int
    environment: dict[str, str]
    end: Callable[[], None]


class _Keeper:
    """Whether this process keeps a Ray across jobs, and which."""

    keeps = False
    ray: KeptRay | None = None


def keep_ray() -> None:
    """From now on a private Ray outlives its job, until one_ray() or the process ends."""
    _Keeper.keeps = True


@contextmanager
def one_ray() -> Iterator[None]:
    """After the block no Ray is left that was kept inside it."""
    try:
        yield
    finally:
        _Keeper.keeps = False
        end_kept_ray()


def keeps_ray() -> bool:
    return _Keeper.keeps


def kept_ray(cpus: int) -> KeptRay | None:
    """The one that is up, if a job that needs so many CPUs can have it; else none is up."""
    ray = _Keeper.ray
    if ray is None or (ray.cpus >= cpus and ray.environment == environment()):
        return ray
    end_kept_ray()
    return None


def keep(ray: KeptRay) -> None:
    _Keeper.ray = ray


def end_kept_ray() -> None:
    ray, _Keeper.ray = _Keeper.ray, None
    if ray is not None:
        ray.end()


def environment() -> dict[str, str]:
    """What hydra.job.env_set and the like can change; Ray's own notes for itself are left out."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def is_ray_worker() -> bool:
    """Whether this process itself is a task of some Ray, as the jobs of hydra/launcher=ray are."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and _mode(ray) == ray.WORKER_MODE


def _mode(ray: ModuleType) -> int | None:
    mode: int | None = ray._private.worker.global_worker.mode
    return mode

"""The end of a job's actors, where Ray itself stays up."""

import os
import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private import state

_GONE_SECONDS = 30.0
_POLL_SECONDS = 0.02

_placed: list[Any] = []


def placed(actor: Any) -> Any:
    """The same handle, remembered until its job ends."""
    _placed.append(actor)
    return actor


def forget_actors() -> None:
    """For a Ray that ends with the job, and takes them with it."""
    _placed.clear()


def end_actors() -> None:
    """Every actor that was placed is gone, and its process with it.

    Raises TimeoutError when one does not go.
    """
    actors = list(_placed)
    _placed.clear()
    for actor in actors:
        ray.kill(actor)
    _wait_until(lambda: not any(_is_there(actor) for actor in actors), "its actors are still there")


def wait_for_all_resources() -> None:
    """Nobody else uses this Ray: all its CPUs and GPUs are free for the next job.

    Raises TimeoutError when they are not given back.
    """
    _wait_until(_all_are_free, "its actors are gone, and Ray has not taken back what they had")


def _all_are_free() -> bool:
    there, free = ray.cluster_resources(), ray.available_resources()
    return all(free.get(name, 0) == there.get(name, 0) for name in ("CPU", "GPU"))


def _is_there(actor: Any) -> bool:
    facts = state.actors(actor._actor_id.hex())
    if not facts or facts["State"] != "DEAD":
        return bool(facts)
    is_here = facts["Address"]["NodeID"] == ray.get_runtime_context().get_node_id()
    return is_here and _runs(facts["Pid"])


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks, and does nothing
    except ProcessLookupError:
        return False
    return True


def _wait_until(over: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while not over():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the job has ended, but {otherwise}")
        time.sleep(_POLL_SECONDS)

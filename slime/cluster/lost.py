"""Workers that are no more: how that shows, and what is told about it."""

from textwrap import shorten
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)

# A process, or a machine, or Ray itself has died; never what a worker's own code raises.
DEATHS = (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RaySystemError,
    WorkerCrashedError,
)
_NEWS_SECONDS = 5.0


class WorkersLostError(RuntimeError):
    """Train workers, or the Ray that they ran in, have died, and with them what they held."""


def explained(death: Exception) -> WorkersLostError:
    if isinstance(death, OutOfMemoryError):
        return WorkersLostError(
            "a worker was ended for want of memory: write a smaller "
            "parallel.max_tokens_per_microbatch"
        )
    lines = [line.strip() for line in str(death).splitlines() if line.strip()]
    return WorkersLostError(shorten(lines[-1], 200) if lines else type(death).__name__)


def ray_is_up() -> bool:
    """Whether actors can be placed on this machine, or all that was here is gone."""
    here = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == here and node["Alive"] for node in ray.nodes())


def death_behind(references: list[Any]) -> Exception | None:
    """Whether one of these calls failed because its worker died.

    When a rank dies, the others fail too, in the middle of what they did together with it, and
    their errors may be seen first.
    """
    ended, _ = ray.wait(references, num_returns=len(references), timeout=_NEWS_SECONDS)
    for reference in ended:
        try:
            ray.get(reference)
        except RayTaskError:
            continue
        except DEATHS as death:
            found: Exception = death
            return found
    return None

"""What can be known about rollout folders before anything heavy is imported.

Standard library only, and nothing here writes.  os.path and not Path's own methods, where a folder
that may not be read is an error of its own kind.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ReplayEngine, RolloutConfig

REPLAY_KEY = "rollout.engine.path"


def problems(config: RolloutConfig, iterations: int) -> Iterator[str]:
    """One line for a rollout.save that cannot be written to, or a replay with nothing to read."""
    if config.save is not None:
        yield from save_problems(Path(config.save).expanduser())
    if isinstance(config.engine, ReplayEngine):
        yield from replay_problems(Path(config.engine.path).expanduser(), iterations)


def save_problems(folder: Path) -> Iterator[str]:
    """One line when `folder` holds the iterations of another run, or cannot be written to."""
    if saved_iterations(folder):
        yield f"rollout.save: {folder} already holds saved iterations; name another folder"
        return
    existing = next(
        place for place in (folder, *folder.absolute().parents) if os.path.exists(place)
    )
    if not os.path.isdir(existing):
        yield f"rollout.save: cannot make {folder} ({existing} is not a folder)"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"rollout.save: {existing} cannot be written to; name another folder"


def replay_problems(folder: Path, iterations: int) -> Iterator[str]:
    """One line unless `folder` holds the iterations from 0 to `iterations` - 1."""
    saved = saved_iterations(folder)
    missing = next((i for i in range(iterations) if i not in saved), None)
    if not saved:
        yield nothing_saved(folder, REPLAY_KEY)
    elif missing is not None and missing < max(saved):
        yield f"{REPLAY_KEY}: {folder} lacks iteration {missing}"
    elif missing is not None:
        yield (
            f"iterations={iterations}: {folder} ({REPLAY_KEY}) has only {len(saved)} saved "
            f"iterations; write iterations={len(saved)} or less"
        )


def nothing_saved(folder: Path, key: str) -> str:
    """The line for a `folder` without saved iterations, which `key` names."""
    if not os.path.isdir(folder):
        return f"{key}: {folder} is not a folder"
    return f"{key}: {folder} holds no saved iterations; write them with rollout.save={folder}"


def saved_iterations(folder: Path) -> set[int]:
    """The numbers of the iterations in `folder`; none if it is no folder."""
    if not os.path.isdir(folder):
        return set()
    names = (re.fullmatch(r"iteration_(\d{5,})", path.name) for path in folder.glob("iteration_*"))
    return {int(name[1]) for name in names if name}

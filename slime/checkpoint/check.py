"""What can be known about the checkpoint to start from before anything starts."""

from collections.abc import Iterator
from pathlib import Path

from slime.checkpoint.saved import FOLDER, MANIFEST, all_of
from slime.config.schema import CheckpointConfig


def problems(config: CheckpointConfig) -> Iterator[str]:
    """One line for a checkpoint.resume that names no place with checkpoints.

    Whether one of them is whole takes reading them: see slime.checkpoint.read.
    """
    if config.start_from is None:
        return
    path = Path(config.start_from).expanduser()
    if not path.is_dir():
        yield (
            f"checkpoint.resume={config.resume}: there is no such folder; write auto, never, a run "
            "directory or one of its checkpoints"
        )
    elif not (path / MANIFEST).is_file() and not all_of(path / FOLDER) and not all_of(path):
        yield f"checkpoint.resume={config.resume} holds no checkpoint"

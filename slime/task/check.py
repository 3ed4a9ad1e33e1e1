"""What can be known about task=... before anything heavy is imported."""

from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import ConfigError, JsonlTask, TaskConfig
from slime.task.lines import read_examples

HELD_OUT_EVERY = 10  # without an evaluation file, every tenth line of the training file


def problems(config: TaskConfig) -> Iterator[str]:
    """One line for each file that is missing or empty, or has a malformed line (the first one)."""
    if not isinstance(config, JsonlTask):
        return
    least = 1 if config.evaluation_path is not None else HELD_OUT_EVERY
    yield from _file_problems("task.path", config.path, least)
    if config.evaluation_path is not None:
        yield from _file_problems("task.evaluation_path", config.evaluation_path, 1)


def _file_problems(key: str, path: str, least: int) -> Iterator[str]:
    try:
        count = sum(1 for _ in read_examples(key, Path(path).expanduser()))
    except ConfigError as malformed:
        yield str(malformed)
        return
    if count == 0:
        yield f"{key}: {path} is empty"
    elif count < least:
        yield (
            f"{key}: {path} has {count} lines, too few to hold out every {least}th: add lines or "
            f"give a held-out file with task.evaluation_path"
        )

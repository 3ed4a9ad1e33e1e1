"""What can be known about task=... before anything heavy is imported."""

from collections.abc import Callable, Iterator
from pathlib import Path

from slime.config.schema import ConfigError, JsonlTask, TaskConfig
from slime.task.lines import read_examples

HELD_OUT_EVERY = 10  # without an evaluation file, every tenth line of the training file


# What is wrong with an answer; None if nothing is.
Judge = Callable[[str], str | None]


def accept(_: str) -> None:
    """The judge where every answer can be right."""


def problems(config: TaskConfig, judge: Judge) -> Iterator[str]:
    """One line for each file that is missing or empty, or has a line that is malformed or whose
    answer `judge` refuses (the first one).
    """
    if not isinstance(config, JsonlTask):
        return
    least = 1 if config.evaluation_path is not None else HELD_OUT_EVERY
    yield from _file_problems("task.path", config.path, least, judge)
    if config.evaluation_path is not None:
        yield from _file_problems("task.evaluation_path", config.evaluation_path, 1, judge)


def _file_problems(key: str, path: str, least: int, judge: Judge) -> Iterator[str]:
    count, refused = 0, None
    try:
        for example in read_examples(key, Path(path).expanduser()):
            count += 1
            if refused is None and (reason := judge(example.answer)) is not None:
                refused = f"{example.where} {reason}"
    except ConfigError as malformed:
        yield str(malformed)
        return
    if refused is not None:
        yield refused
    if count == 0:
        yield f"{key}: {path} is empty"
    elif count < least:
        yield (
            f"{key}: {path} has {count} lines, too few to hold out every {least}th: add lines or "
            f"give a held-out file with task.evaluation_path"
        )

"""All jobs of a sweep, read before the first one starts."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException

from slime.config.explain import explain
from slime.config.fingerprint import fingerprint
from slime.config.repeated import repeated
from slime.config.resume import FinishedRun
from slime.config.schema import Config, ConfigError
from slime.config.schema.base import all_warnings
from slime.config.unreadable import unreadable

MOST_JOBS = 10_000  # each is composed and checked before the first one runs

Read = Callable[[ConfigLoader, Sequence[str]], Config]


@dataclass(frozen=True, slots=True)
class SweepJob:
    """One combination of the values of a sweep."""

    number: int
    overrides: tuple[str, ...]
    config: Config | None  # None if something is wrong with it
    problems: tuple[str, ...]


def read_sweep(loader: ConfigLoader, overrides: Sequence[str], read: Read) -> list[SweepJob]:
    """The jobs of Hydra's basic sweeper, in the order in which it runs them, each read by `read`.

    Raises ConfigError if the sweep has no list of jobs at all.
    """
    try:
        parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
        if twice := list(repeated(parsed)):
            raise ConfigError("\n".join(twice))
        if wrong := list(_not_a_list(parsed)):
            raise ConfigError("\n".join(wrong))
        [jobs] = BasicSweeper.split_arguments(parsed, max_batch_size=None)
        if not jobs:
            raise ConfigError("the sweep has no job: one of its lists of values is empty")
    except OverrideParseException as error:
        raise ConfigError(unreadable(error.override, error)) from error
    except HydraException as error:
        raise ConfigError("\n".join(explain(error))) from error
    return [read_job(loader, number, job, read) for number, job in enumerate(jobs)]


def _not_a_list(overrides: Sequence[Override]) -> Iterator[str]:
    """Values that the basic sweeper cannot go through one by one, or not in a lifetime."""
    jobs = 1
    for override in (each for each in overrides if each.is_sweep_override()):
        text = str(override.input_line)
        match override._value:
            case IntervalSweep():
                yield f"{text!r}: an interval is for hydra/sweeper=optuna; write a list of values"
            case RangeSweep(step=0):
                yield f"{text!r}: the step of a range cannot be 0"
            case RangeSweep(start=float() | int() as low, stop=float() | int() as end, step=step):
                jobs *= max(0, math.ceil((end - low) / step))
            case ChoiceSweep(list=values):
                jobs *= len(values)
    if jobs > MOST_JOBS:
        yield f"the sweep has {jobs} jobs, and {MOST_JOBS} are the most: sweep over fewer values"


def sweep_problems(jobs: Sequence[SweepJob]) -> list[str]:
    """Every problem once, with the jobs that have it."""
    return _once(jobs, lambda job: job.problems) + shared_save_folders(
        jobs, lambda sharing: _named([job.number for job in sharing], len(jobs))
    )


def sweep_warnings(jobs: Sequence[SweepJob]) -> list[str]:
    """What is legal but surely unintended: every sentence once, with the jobs it is about."""
    return _once(jobs, lambda job: () if job.config is None else all_warnings(job.config))


def _once(jobs: Sequence[SweepJob], said: Callable[[SweepJob], Iterable[str]]) -> list[str]:
    having: dict[str, list[int]] = {}
    for job in jobs:
        for line in dict.fromkeys(said(job)):
            having.setdefault(line, []).append(job.number)
    return [f"{line} ({_named(numbers, len(jobs))})" for line, numbers in having.items()]


def shared_save_folders(
    jobs: Sequence[SweepJob], named: Callable[[Sequence[SweepJob]], str]
) -> list[str]:
    """A line for each rollout.save of more than one job: all but the first would fail.

    named: how to speak of several jobs
    """
    saving: dict[str, list[SweepJob]] = {}
    for job in jobs:
        if job.config is not None and job.config.rollout.save is not None:
            folder = os.path.abspath(os.path.expanduser(job.config.rollout.save))
            saving.setdefault(folder, []).append(job)
    return [
        f"rollout.save={folder} is one folder for several runs ({named(sharing)}): make it depend "
        "on what differs between them, e.g. 'rollout.save=saved/${seed}' in a sweep over seed"
        for folder, sharing in saving.items()
        if len(sharing) > 1
    ]


def sweep_table(jobs: Sequence[SweepJob], finished: Mapping[str, FinishedRun]) -> str:
    """A line for each job: fingerprint, number, overrides; jobs that train the same say so.

    finished: the trainings that need not be done again, by fingerprint
    """
    lines: list[str] = []
    first: dict[str, int] = {}
    for job in jobs:
        mark = "------------" if job.config is None else fingerprint(job.config)
        line = f"{mark}  #{job.number} {' '.join(job.overrides)}".rstrip()
        if mark in finished:
            line += f"  (finished in {finished[mark].folder}: skipped)"
        elif _trains(job) and first.setdefault(mark, job.number) != job.number:
            line += f"  (trains the same as #{first[mark]})"
        lines.append(line)
    return "\n".join(lines)


def _trains(job: SweepJob) -> bool:
    return job.config is not None and job.config.command.trains


def read_job(loader: ConfigLoader, number: int, overrides: list[str], read: Read) -> SweepJob:
    try:
        return SweepJob(number, tuple(overrides), read(loader, overrides), ())
    except ConfigError as error:
        return SweepJob(number, tuple(overrides), None, tuple(str(error).splitlines()))


def _named(numbers: Sequence[int], jobs: int) -> str:
    if len(numbers) == jobs:
        return "in every job"
    return f"in job{'s' if len(numbers) > 1 else ''} {', '.join(f'#{n}' for n in numbers)}"

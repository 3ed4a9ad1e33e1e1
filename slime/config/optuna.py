"""A sweep whose jobs Optuna makes up as it goes: what can be checked before the first one.

There is no list of jobs.  Every choice, and both ends of every interval, are read one at a time,
with the first choice (or lower end) of everything else; combinations are checked as they are drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig

from slime.config.explain import explain
from slime.config.repeated import repeated
from slime.config.schema import Config, ConfigError, LocalEngine
from slime.config.sweep import Read, SweepJob, read_job, shared_save_folders
from slime.config.unreadable import unreadable


@dataclass(frozen=True, slots=True)
class Axis:
    """A key or group that Optuna draws, and the values of it that are tried here."""

    key: str
    tried: tuple[str, ...]
    in_words: str


@dataclass(frozen=True, slots=True)
class Study:
    """What Optuna draws from; `tried` is what was read of it, each as a job."""

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]
    tried: tuple[SweepJob, ...]


def read_study(loader: ConfigLoader, overrides: Sequence[str], read: Read) -> Study:
    """Each value alone, read by `read`.  Raises ConfigError if Optuna cannot draw from this."""
    try:
        parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
        if twice := list(repeated(parsed)):
            raise ConfigError("\n".join(twice))
        axes = tuple(_axis(override) for override in parsed if override.is_sweep_override())
    except OverrideParseException as error:
        raise ConfigError(unreadable(error.override, error)) from error
    except HydraException as error:
        raise ConfigError("\n".join(explain(error))) from error
    fixed = tuple(str(o.input_line) for o in parsed if not o.is_sweep_override())
    tried = tuple(
        read_job(loader, number, [*fixed, *drawn], read)
        for number, drawn in enumerate(_one_at_a_time(axes))
    )
    return Study(fixed, axes, tried)


def study_text(study: Study, sweeper: DictConfig) -> str:
    """What is drawn, what is fixed, and what has been checked of it."""
    lines = [f"Optuna draws {sweeper.n_trials} trials and maximises evaluation/reward_mean"]
    lines += [f"  {axis.key}: {axis.in_words}" for axis in study.axes]
    if study.fixed:
        lines.append(f"  always: {' '.join(study.fixed)}")
    lines.append(
        "checked now: every choice and both ends of every interval, one at a time "
        f"({len(study.tried)} configs); not yet: combinations of them, each as it is drawn"
    )
    return "\n".join(lines)


def study_problems(study: Study) -> list[str]:
    """Every problem once, with the value that has it."""
    having: dict[str, list[SweepJob]] = {}
    for job in study.tried:
        nothing = _nothing_to_maximise(job.config) if job.config is not None else ()
        for line in (*job.problems, *nothing):
            having.setdefault(line, []).append(job)
    lines = [f"{line} ({_named(study, jobs)})" for line, jobs in having.items()]
    return lines + shared_save_folders(study.tried, lambda jobs: _named(study, jobs))


def sweeper_problems(study: Study, sweeper: DictConfig) -> Iterator[str]:
    """What is wrong with Optuna's own settings.  sweeper: the node hydra.sweeper"""
    if not study.axes:
        yield (
            "hydra/sweeper=optuna has nothing to draw: write a key with several values, e.g. "
            "'optimizer.learning_rate=tag(log,interval(1e-6,1e-4))'"
        )
    if sweeper.direction != "maximize":
        yield (
            f"hydra.sweeper.direction={getattr(sweeper.direction, 'name', sweeper.direction)}: a "
            "job returns the reward of its held-out answers; leave it out, or write maximize"
        )
    if sweeper.storage is not None:
        yield (
            "hydra.sweeper.storage: this Optuna keeps a study in memory only (its databases need "
            "SQLAlchemy 1); leave it out: sweep.resume=true with hydra.sweeper.sampler.seed=0 "
            "goes through a study again without its finished trials"
        )
    if sweeper.n_trials < 1 or sweeper.n_jobs < 1:
        yield (
            "hydra.sweeper.n_trials and n_jobs must be at least 1, got "
            f"{sweeper.n_trials} and {sweeper.n_jobs}"
        )


def _axis(override: Override) -> Axis:
    key, value = override.get_key_element(), override._value
    match value:
        case IntervalSweep(start=float() | int() as low, end=float() | int() as high):
            if low > high:
                raise ConfigError(f"{str(override.input_line)!r}: {low} is above {high}: swap them")
            log = ", log" if "log" in value.tags else ""
            return Axis(key, (str(low), str(high)), f"{low} to {high}{log}")
        case RangeSweep(step=0):
            raise ConfigError(f"{str(override.input_line)!r}: the step of a range cannot be 0")
        case RangeSweep(start=float() | int() as low, stop=float() | int() as stop):
            high = low + (stop - low) // value.step * value.step  # Optuna draws the end too
            step = f" in steps of {value.step}" if value.step != 1 else ""
            return Axis(key, (str(low), str(high)), f"{low} to {high}{step}")
        case ChoiceSweep() | list():
            choices = tuple(override.sweep_string_iterator())
            return Axis(key, choices, " | ".join(choices))
    raise ConfigError(
        f"{str(override.input_line)!r}: Optuna cannot draw from this; write "
        f"{key}=choice(a,b) or {key}=interval(low,high)"
    )


def _one_at_a_time(axes: Sequence[Axis]) -> Iterator[list[str]]:
    """The first values of all axes; then every other value of each."""
    first = [f"{axis.key}={axis.tried[0]}" for axis in axes]
    yield first
    for place, axis in enumerate(axes):
        for value in axis.tried[1:]:
            yield [*first[:place], f"{axis.key}={value}", *first[place + 1 :]]


def _nothing_to_maximise(config: Config) -> Iterator[str]:
    if not config.command.trains:
        yield f"command={config.command.name} returns nothing that Optuna could maximise"
    elif not isinstance(config.rollout.engine, LocalEngine) or config.evaluation.prompts < 1:
        yield (
            "Optuna maximises the reward of held-out answers, and this run evaluates none: write "
            "rollout/engine=local and evaluation.prompts=64"
        )


def _named(study: Study, jobs: Sequence[SweepJob]) -> str:
    """What all these jobs have and no other one has; where there is no such thing, each of them."""
    if len(jobs) == len(study.tried):
        return "in every trial"
    others = [set(job.overrides) for job in study.tried if job not in jobs]
    shared = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs))
    told = shared.difference(*others)
    if told:
        return "with " + " ".join(o for o in jobs[0].overrides if o in told)
    drawn = [" ".join(job.overrides[len(study.fixed) :]) for job in jobs]
    return "with " + ", or ".join(drawn)

"""Validates a run, or every job of a sweep, before it writes a folder or imports torch."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from slime.config.compose import without_hydra
from slime.config.fingerprint import fingerprint
from slime.config.optuna import read_study, study_problems, study_text, sweeper_problems
from slime.config.overrides import read_command_line, read_composed
from slime.config.plugins import OPTUNA, SWEEPER, of_a_sweep
from slime.config.resume import FinishedRun, finished_runs, make_room, occupant
from slime.config.schema import Config, ConfigError
from slime.config.schema.base import all_warnings
from slime.config.sweep import SweepJob, read_sweep, sweep_problems, sweep_table, sweep_warnings
from slime.config.used_folder import goes_on, job_goes_on
from slime.config.warn import warn

Check = Callable[[Config], Iterable[str]]

_checks: list[Check] = []

# In the folder of a sweep a job's folder has the job's number as its name.
_SUBDIR = "${hydra.job.num}"


def register_check(check: Check) -> None:
    """Have `check` look at every config that is right by itself, e.g. at the files it names.

    It yields a sentence for each problem, reads small files only and imports nothing heavy.
    """
    if check not in _checks:
        _checks.append(check)


def check_run(cfg: DictConfig) -> None:
    """Make the run's folder, or find one that goes on.

    Raises ConfigError with a line for each problem of the run.
    """
    config = read_composed(without_hydra(cfg), _as_written(cfg))
    folder = Path(cfg.hydra.run.dir)
    if again := goes_on(folder, config):
        # Where its rollouts are saved was looked at when it started; now they are there.
        _check(replace(config, rollout=replace(config.rollout, save=None)))
    else:
        _check(config)
    _refuse(_only_for_sweeps(cfg, config))
    _make_folder("hydra.run.dir", str(folder), None)
    if again:
        print(f"going on with the run in {folder}", flush=True)
    warn(all_warnings(config))


def check_sweep(loader: ConfigLoader, cfg: DictConfig) -> int | None:
    """Look at every job, say what there is, make the sweep's folder.

    -> how many jobs there are; None where that shows only as the sweep goes on
    Raises ConfigError with a line for each problem of any job.
    """
    _refuse(_lost_folders(cfg))
    swept = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
    overrides = [*swept, *_as_written(cfg)]
    match cfg.hydra.runtime.choices[SWEEPER]:
        case "basic":
            return _check_list(loader, cfg, overrides)
        case str(name) if name == OPTUNA:
            _check_study(loader, cfg, overrides)
        case other:
            print(f"hydra/sweeper={other} has no list of jobs: each is checked when it starts")
            _make_folder("hydra.sweep.dir", cfg.hydra.sweep.dir, "*/run.json")
    return None


def _check_list(loader: ConfigLoader, cfg: DictConfig, overrides: Sequence[str]) -> int:
    jobs = read_sweep(loader, overrides, _read_and_check)
    folder = Path(cfg.hydra.sweep.dir)
    resuming = _resuming(jobs)
    finished = finished_runs(folder) if resuming else {}
    print(sweep_table(jobs, finished), flush=True)
    _refuse(sweep_problems(jobs))
    if resuming:
        _resume(folder, jobs, finished)
    _make_folder("hydra.sweep.dir", cfg.hydra.sweep.dir, None if resuming else "*/run.json")
    warn(sweep_warnings(jobs))
    return len(jobs)


def _check_study(loader: ConfigLoader, cfg: DictConfig, overrides: Sequence[str]) -> None:
    study = read_study(loader, overrides, _read_and_check)
    print(study_text(study, cfg.hydra.sweeper), flush=True)
    _refuse([*sweeper_problems(study, cfg.hydra.sweeper), *study_problems(study)])
    used = None if _resuming(study.tried) else "*/run.json"
    _make_folder("hydra.sweep.dir", cfg.hydra.sweep.dir, used)
    warn(sweep_warnings(study.tried))


def _resume(folder: Path, jobs: Sequence[SweepJob], finished: dict[str, FinishedRun]) -> None:
    """Room for all jobs but those that have finished where they stand, before any of them runs."""
    places: list[Path] = []
    for job in jobs:
        done = finished.get(fingerprint(job.config)) if job.config is not None else None
        place = folder / str(job.number)
        if job.config is not None and job_goes_on(place, job.config):
            continue
        if done is None or done.folder != place:
            places.append(place)
    _refuse(problem for place in places if (problem := occupant(place)) is not None)
    for place in places:
        make_room(place)


def _resuming(jobs: Sequence[SweepJob]) -> bool:
    return all(job.config is not None and job.config.sweep.resume for job in jobs)


def _only_for_sweeps(cfg: DictConfig, config: Config) -> Iterator[str]:
    yield from of_a_sweep(cfg.hydra.runtime.choices)
    if config.sweep.resume:
        yield "sweep.resume=true is for a sweep: add -m, or leave it out"


def _lost_folders(cfg: DictConfig) -> Iterator[str]:
    written = cfg.hydra.sweep._get_node("subdir")._value()
    if written != _SUBDIR:
        yield (
            f"hydra.sweep.subdir={written}: the folder of a job is found by its number, leave it "
            "out (hydra.sweep.dir is where these folders are)"
        )


def _read_and_check(loader: ConfigLoader, overrides: Sequence[str]) -> Config:
    return _check(read_command_line(loader, overrides))


def _check(config: Config) -> Config:
    """The config itself.  Raises ConfigError with a line for each problem a check finds."""
    _refuse(line for check in _checks for line in check(config))
    return config


def _refuse(problems: Iterable[str]) -> None:
    found = list(problems)
    if found:
        raise ConfigError("\n".join(found))


def _as_written(cfg: DictConfig) -> list[str]:
    """The overrides of the command line; reading them one by one would resolve their ${...}."""
    overrides = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


def _make_folder(key: str, folder: str, record: str | None) -> None:
    """Raises ConfigError if the run cannot write there, or another one left its `record` there."""
    if record is not None and any(Path(folder).glob(record)):
        go_on = ", or add sweep.resume=true to go on with it" if key == "hydra.sweep.dir" else ""
        raise ConfigError(f"{folder} already holds a run: pass {key}=<another folder>{go_on}")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot write to {folder} ({reason}): pass {key}=<a folder you may write to>"
        ) from error

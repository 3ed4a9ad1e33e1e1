"""Hydra's run and multirun, with every problem of a command line reported instead of the first."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from slime.config.compose import compose, search_path
from slime.config.ended import EndedJob, ended_job
from slime.config.explain import explain
from slime.config.flags import CommandLine
from slime.config.hydra_keys import hydra_problems, sets_run_dir
from slime.config.loader import Loader
from slime.config.optuna import read_study, study_problems
from slime.config.overrides import read_command_line
from slime.config.plugins import OPTUNA, SWEEPER, maximise, with_named
from slime.config.preflight import check_run, check_sweep
from slime.config.schema import ConfigError
from slime.config.store import ROOT_CONFIG
from slime.config.sweep import read_sweep, sweep_problems
from slime.config.used_folder import goes_on, is_run, occupied

Task = Callable[[DictConfig], float | None]


@dataclass(frozen=True, slots=True)
class Ran:
    """How each job ended, by what it left, in order; and whether the sweep came to its end."""

    jobs: list[EndedJob]
    stopped: bool

    @property
    def exit_code(self) -> int:
        """0, or that of the first job that did not end well; 1 for a sweep that broke off."""
        return next((job.exit_code for job in self.jobs if job.exit_code), int(self.stopped))


def run(command_line: CommandLine, conf: Path, task: Task) -> Ran:
    """Run the job, or all jobs of the sweep.

    conf: the folder of the config groups.  Raises ConfigError with a line for each problem.
    """
    with_named(command_line.overrides)
    with _hydra(conf) as hydra:
        if command_line.multirun:
            return _run_sweep(hydra, command_line, task)
        return Ran([_run_one(hydra, command_line, task)], stopped=False)


def show(command_line: CommandLine, conf: Path) -> str:
    """The config, or the part of it that --package names, as YAML; required values show as ???.

    Raises ConfigError with a line for each problem that keeps it from composing.
    """
    with_named(command_line.overrides)
    _refuse_hydra_keys(command_line.overrides, multirun=False)
    with _hydra(conf) as hydra, _every_problem(hydra.config_loader, command_line):
        cfg = compose(hydra.config_loader, command_line.overrides)
        if command_line.resolve:
            OmegaConf.resolve(cfg)
        part = OmegaConf.select(cfg, command_line.package) if command_line.package else cfg
    if not OmegaConf.is_config(part):
        raise ConfigError(f"--package {command_line.package}: no such node; try --cfg job alone")
    return OmegaConf.to_yaml(part)


def _run_one(hydra: Hydra, command_line: CommandLine, task: Task) -> EndedJob:
    # Hydra would stop at the first mistake, and everything would have to be composed once more.
    config = read_command_line(hydra.config_loader, command_line.overrides)
    with _every_problem(hydra.config_loader, command_line):
        cfg = _composed(hydra, list(command_line.overrides), RunMode.RUN)
    here = Path.cwd()
    if config.command.trains and not sets_run_dir(command_line.overrides) and is_run(here):
        cfg.hydra.run.dir = str(here)  # whoever stands in a run means this one
    check_run(cfg)
    with occupied(Path(cfg.hydra.run.dir)):
        goes_on(Path(cfg.hydra.run.dir), config)  # again: another may have ended there just now
        done = run_job(
            hydra_context=_context(hydra, cfg),
            task_function=task,
            config=cfg,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
    _ = done.return_value  # raises what the task raised
    assert done.hydra_cfg is not None
    return ended_job(0, Path(done.hydra_cfg.hydra.runtime.output_dir))


def _run_sweep(hydra: Hydra, command_line: CommandLine, task: Task) -> Ran:
    _refuse_hydra_keys(command_line.overrides, multirun=True)
    with _every_problem(hydra.config_loader, command_line):
        overrides = [*command_line.overrides, "hydra.mode=MULTIRUN"]
        cfg = _composed(hydra, overrides, RunMode.MULTIRUN)
    jobs = check_sweep(hydra.config_loader, cfg)
    sweeper = Plugins.instance().instantiate_sweeper(
        config=cfg, hydra_context=_context(hydra, cfg), task_function=task
    )
    arguments = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    assert isinstance(arguments, list)
    stopped = False
    try:
        sweeper.sweep(arguments=arguments)
    except Exception as error:  # a launcher that lost a process, a sweeper without any result
        stopped = True
        _tell(error)
    folder = Path(cfg.hydra.sweep.dir)
    ended = [ended_job(number, folder / str(number)) for number in _numbers(folder, jobs)]
    return Ran(ended, stopped)


def _refuse_hydra_keys(overrides: Sequence[str], *, multirun: bool) -> None:
    """What cannot be read at all is told later, with everything else that is wrong."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException:
        return
    if found := list(hydra_problems(parsed, multirun=multirun)):
        raise ConfigError("\n".join(found))


def _numbers(folder: Path, jobs: int | None) -> Sequence[int]:
    """The jobs of the sweep: those that have a folder, where the sweeper makes them up."""
    if jobs is not None:
        return range(jobs)
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def _tell(error: Exception) -> None:
    """What stopped a sweep that its jobs do not know of."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    first = (str(error).strip() or "no reason given").splitlines()[0]
    print(f"the sweep stopped: {type(error).__name__}: {first}", file=sys.stderr)


def _composed(hydra: Hydra, overrides: list[str], mode: RunMode) -> DictConfig:
    cfg = hydra.compose_config(ROOT_CONFIG, overrides, mode, with_log_configuration=True)
    if cfg.hydra.mode is None:
        cfg.hydra.mode = mode
    return cfg


def _context(hydra: Hydra, cfg: DictConfig) -> HydraContext:
    return HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(cfg))


@contextmanager
def _hydra(conf: Path) -> Iterator[Hydra]:
    """What @hydra.main sets up.

    The decorator itself would compose twice, exit with 1 on a mistake, and drop what jobs return.
    """
    version.setbase("1.3")
    try:
        hydra = Hydra("launch", Loader(search_path(conf)))
        GlobalHydra.instance().initialize(hydra)
        maximise()
        yield hydra
    finally:
        GlobalHydra.instance().clear()


@contextmanager
def _every_problem(loader: ConfigLoader, command_line: CommandLine) -> Iterator[None]:
    """Turn the mistake at which Hydra gives up into a ConfigError that names all of them."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            raise
        if command_line.multirun:
            lines = _sweep_problems(loader, command_line.overrides) or _explain_sweep(error)
        else:
            lines = _job_problems(loader, command_line.overrides) or explain(error)
        if not lines:
            raise
        raise ConfigError("\n".join(lines)) from error


def _job_problems(loader: ConfigLoader, overrides: Sequence[str]) -> list[str]:
    try:
        read_command_line(loader, overrides)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def _sweep_problems(loader: ConfigLoader, overrides: Sequence[str]) -> list[str]:
    try:
        if f"{SWEEPER}={OPTUNA}" in overrides:
            return study_problems(read_study(loader, overrides, read_command_line))
        return sweep_problems(read_sweep(loader, overrides, read_command_line))
    except ConfigError as error:
        return str(error).splitlines()


def _explain_sweep(error: Exception) -> list[str]:
    """Every job is right by itself, so Hydra stumbled over a key that only some choices have.

    It checks what is not swept over against the default choices first (Hydra issue 2888).
    """
    return [
        f"{line} (in a sweep over groups, write such a key as key=choice(value))"
        for line in explain(error)
    ]

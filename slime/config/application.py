"""Hydra's run and multirun, with every problem of a command line reported instead of the first."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hydra import version
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from slime.config.compose import ROOT_CONFIG, compose, search_path
from slime.config.explain import explain
from slime.config.flags import CommandLine
from slime.config.overrides import read_command_line
from slime.config.schema import ConfigError
from slime.config.sweep import read_sweep, sweep_problems

Result = TypeVar("Result")


def run(command_line: CommandLine, conf: Path, job: Callable[[DictConfig], Result]) -> list[Result]:
    """Run the job, or all jobs of the sweep.  -> what each returned, in order

    conf: the folder of the config groups.  Raises ConfigError with a line for each problem.
    """
    with _hydra(conf) as hydra, _every_problem(hydra.config_loader, command_line):
        overrides = list(command_line.overrides)
        if not command_line.multirun:
            return [hydra.run(ROOT_CONFIG, job, overrides).return_value]
        batches = hydra.multirun(ROOT_CONFIG, job, [*overrides, "hydra.mode=MULTIRUN"])
        return [result.return_value for batch in batches for result in batch]


def show(command_line: CommandLine, conf: Path) -> str:
    """The config, or the part of it that --package names, as YAML; required values show as ???.

    Raises ConfigError with a line for each problem that keeps it from composing.
    """
    with _hydra(conf) as hydra, _every_problem(hydra.config_loader, command_line):
        cfg = compose(hydra.config_loader, command_line.overrides)
        if command_line.resolve:
            OmegaConf.resolve(cfg)
        part = OmegaConf.select(cfg, command_line.package) if command_line.package else cfg
    if not OmegaConf.is_config(part):
        raise ConfigError(f"--package {command_line.package}: no such node; try --cfg job alone")
    return OmegaConf.to_yaml(part)


@contextmanager
def _hydra(conf: Path) -> Iterator[Hydra]:
    """What @hydra.main sets up.

    The decorator itself would compose twice, exit with 1 on a mistake, and drop what jobs return.
    """
    version.setbase("1.3")
    try:
        yield Hydra.create_main_hydra2("launch", search_path(conf))
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

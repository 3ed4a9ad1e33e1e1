"""Whatever is wrong before a run starts -> `config error: ...` lines on stderr and exit code 2."""

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException

from slime.config.compose import jobs_of_sweep, loader_for
from slime.config.explain import explain, unreadable
from slime.config.flags import CommandLine
from slime.config.overrides import read_command_line
from slime.config.schema import ConfigError

FULL_ERROR = "HYDRA_FULL_ERROR"
_traces_wanted = os.environ.get(FULL_ERROR) == "1"  # before one_line_errors sets it for Hydra


def report(error: BaseException) -> bool:
    """Print each problem in `error` as a config error; False if it is no mistake in a config.

    The trace comes too if HYDRA_FULL_ERROR=1 asked for it.
    """
    lines = explain(error)
    if lines and _traces_wanted:
        traceback.print_exception(error)
    for line in lines:
        print("config error:", line, file=sys.stderr)
    return bool(lines)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a mistake in the config and exit with 2; every other exception passes."""
    try:
        yield
    except Exception as error:
        if not report(error):
            raise
        sys.exit(2)


@contextmanager
def every_problem_of(command_line: CommandLine, conf: Path) -> Iterator[None]:
    """Turn the first mistake at which Hydra gives up into a ConfigError that names all of them.

    conf: the folder of the config groups.
    """
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"  # makes Hydra raise to us instead of printing and exiting with 1
    try:
        yield
    except (ConfigError, OSError) as error:
        if not isinstance(error, HydraException):
            raise
        raise _everything(error, command_line, conf) from error
    except Exception as error:
        raise _everything(error, command_line, conf) from error
    finally:
        if before is None:
            os.environ.pop(FULL_ERROR, None)
        else:
            os.environ[FULL_ERROR] = before


def _everything(error: Exception, command_line: CommandLine, conf: Path) -> Exception:
    loader = loader_for(conf)
    if command_line.multirun:
        lines = _sweep_problems(loader, command_line) or _explain_sweep(error)
    else:
        lines = _job_problems(loader, command_line.overrides) or explain(error)
    return ConfigError("\n".join(lines)) if lines else error


def _job_problems(loader: ConfigLoader, overrides: Sequence[str]) -> list[str]:
    try:
        read_command_line(loader, overrides)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def _sweep_problems(loader: ConfigLoader, command_line: CommandLine) -> list[str]:
    """Every problem of every job, each once: jobs that share a mistake share its line."""
    try:
        jobs = jobs_of_sweep(loader, command_line.overrides)
    except HydraException as error:
        return [unreadable(getattr(error, "override", "the sweep"), error)]
    return list(dict.fromkeys(line for job in jobs for line in _job_problems(loader, job)))


def _explain_sweep(error: Exception) -> list[str]:
    """Every job is right by itself, so Hydra stumbled over a key that only some groups know.

    It checks what is not swept over against the default groups first (Hydra issue 2888).
    """
    return [
        f"{line} (in a sweep over groups, write such a key as key=choice(value))"
        for line in explain(error)
    ]

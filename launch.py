"""Compose, validate, run.

python launch.py --help
python launch.py loss/aggregation=constant loss.divisor=40960
"""

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import hydra
from omegaconf import DictConfig

from slime.config import provenance
from slime.config.build import build
from slime.config.errors import every_problem_of, one_line_errors, report
from slime.config.flags import read_flags
from slime.config.help import help_text
from slime.config.preflight import register_check
from slime.config.schema import Command, Config
from slime.config.store import register, registered_recipes
from slime.model import check as model_check
from slime.task import check as task_check

CONF = Path(__file__).resolve().parent / "conf"
RECIPES = Path(__file__).resolve().parent / "recipes"

CONFIG_ERROR, CRASH, INTERRUPTED = 2, 1, 130


def main() -> int:
    """The exit code: 0, or that of the first job that did not end well."""
    exit_codes: list[int] = []

    def job(cfg: DictConfig) -> None:
        exit_codes.append(run_job(cfg))

    try:
        with one_line_errors():
            command_line = read_flags(sys.argv[1:])
            register(RECIPES)
            if command_line.help:
                print(help_text(CONF, registered_recipes()))
                return 0
            register_check(problems_of_files)
            sys.argv[1:] = command_line.arguments
            with every_problem_of(command_line, CONF):
                hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except KeyboardInterrupt:
        return INTERRUPTED
    return next((code for code in exit_codes if code), 0)


def problems_of_files(config: Config) -> Iterator[str]:
    """What small files say before a run starts."""
    yield from model_check.problems(config.model)
    yield from task_check.problems(config.task)


def run_job(cfg: DictConfig) -> int:
    """One run, to its exit code: a job that fails does not take the rest of a sweep with it."""
    try:
        code = dispatch(build(cfg))
    except Exception as error:
        if report(error):
            return CONFIG_ERROR
        traceback.print_exception(error)
        return CRASH
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def dispatch(config: Config) -> int:
    """Everything heavy is imported here, after the config proved right."""
    run_directory = provenance.write(config)
    match config.command:
        case Command.train:
            from slime.train import train

            return train(config, run_directory)


if __name__ == "__main__":
    sys.exit(main())

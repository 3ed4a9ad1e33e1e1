"""Compose, validate, run.

python launch.py --help
python launch.py loss/aggregation=constant loss.divisor=40960
"""

import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from slime.config import application, provenance
from slime.config.build import build
from slime.config.errors import CONFIG_ERROR, one_line_errors, report
from slime.config.flags import read_arguments
from slime.config.help import help_text
from slime.config.preflight import register_check
from slime.config.schema import Command, Config
from slime.config.store import register, registered_recipes
from slime.model import check as model_check
from slime.reward.check import answer_problem
from slime.rollout import check as rollout_check
from slime.task import check as task_check

CONF = Path(__file__).resolve().parent / "conf"
RECIPES = Path(__file__).resolve().parent / "recipes"

CRASH, INTERRUPTED = 1, 130


def main() -> int:
    """The exit code: 0, or that of the first job that did not end well."""
    try:
        with one_line_errors():
            command_line = read_arguments(sys.argv[1:])
            register(RECIPES)
            if command_line.help:
                print(help_text(CONF, registered_recipes()))
                return 0
            if command_line.show:
                print(application.show(command_line, CONF), end="")
                return 0
            register_check(problems_of_files)
            exit_codes = application.run(command_line, CONF, run_job)
    except KeyboardInterrupt:
        return INTERRUPTED
    failed = [number for number, code in enumerate(exit_codes) if code]
    if failed and command_line.multirun:
        jobs = ", ".join(f"#{number} (exit code {exit_codes[number]})" for number in failed)
        print(f"{len(failed)} of {len(exit_codes)} jobs failed: {jobs}", file=sys.stderr)
    return exit_codes[failed[0]] if failed else 0


def problems_of_files(config: Config) -> Iterator[str]:
    """What small files and folders say before a run starts."""
    yield from model_check.problems(config.model)
    yield from task_check.problems(config.task, partial(answer_problem, config.reward))
    yield from rollout_check.problems(config.rollout, config.iterations)


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

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

from slime.check import preflight as check_problems
from slime.check.sweep import EndedJob, print_sweep
from slime.config import application, provenance
from slime.config.build import build
from slime.config.errors import CONFIG_ERROR, one_line_errors, report
from slime.config.flags import read_arguments
from slime.config.functions import function_problems
from slime.config.help import help_text
from slime.config.preflight import register_check
from slime.config.schema import Command, Config, ConfigError, CustomLoss
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
            jobs = application.run(command_line, CONF, run_job)
    except KeyboardInterrupt:
        return INTERRUPTED
    failed = [number for number, job in enumerate(jobs) if job.exit_code]
    if command_line.multirun:
        print_sweep(jobs)
    if failed and command_line.multirun:
        codes = ", ".join(f"#{number} (exit code {jobs[number].exit_code})" for number in failed)
        print(f"{len(failed)} of {len(jobs)} jobs failed: {codes}", file=sys.stderr)
    return jobs[failed[0]].exit_code if failed else 0


def problems_of_files(config: Config) -> Iterator[str]:
    """What small files and folders say before a run starts."""
    yield from model_check.problems(config.model)
    yield from model_check.layout_problems(config.model, config.parallel)
    yield from task_check.problems(config.task, partial(answer_problem, config.reward))
    yield from rollout_check.problems(config.rollout, config.iterations)
    yield from function_problems(config)
    yield from _problems_of_weights(config)
    yield from check_problems.problems(config)


def _problems_of_weights(config: Config) -> Iterator[str]:
    """A function of the user's own is tried here, so that a sweep knows before its first job."""
    if not isinstance(config.loss, CustomLoss) or any(function_problems(config)):
        return
    from slime.loss import build_aggregation  # torch

    try:
        build_aggregation(config.loss)
    except ConfigError as wrong:
        yield from str(wrong).splitlines()


def run_job(cfg: DictConfig) -> EndedJob:
    """One run, to its end: a job that fails does not take the rest of a sweep with it."""
    run_directory = None
    try:
        config = build(cfg)
        run_directory = provenance.write(config)
        code = dispatch(config, run_directory)
    except Exception as error:
        if report(error):
            return EndedJob(CONFIG_ERROR, run_directory)
        traceback.print_exception(error)
        return EndedJob(CRASH, run_directory)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return EndedJob(code, run_directory)


def dispatch(config: Config, run_directory: Path) -> int:
    """Everything heavy is imported here, after the config proved right.  -> the exit code"""
    match config.command:
        case Command.train:
            from slime.train import train

            return train(config, run_directory)
        case Command.check:
            from slime.check.check import check

            return check(config, run_directory)
        case Command.explain:
            from slime.check.explain import explain

            return explain(config, run_directory)


if __name__ == "__main__":
    sys.exit(main())

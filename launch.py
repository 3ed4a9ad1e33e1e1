"""Compose, validate, run.

python launch.py --help
python launch.py loss/aggregation=constant loss.divisor=40960
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from slime.check.sweep import print_sweep
from slime.cluster.interrupt import terminate_like_an_interrupt
from slime.cluster.kept import one_ray
from slime.config import application, completion
from slime.config.commands import (
    command_that_reads,
    difference_to,
    read_config,
    recipe_list,
    report_folder,
    run_folders,
    with_lists,
)
from slime.config.ended import INTERRUPTED
from slime.config.errors import one_line_errors
from slime.config.flags import CommandLine, read_arguments
from slime.config.functions import function_problems
from slime.config.help import help_text
from slime.config.job import Job
from slime.config.preflight import register_check
from slime.config.recipes import user_folders
from slime.config.rerun import with_past_run
from slime.config.schema import Command, Config, ConfigError, CustomLoss
from slime.config.store import register, registered_recipes
from slime.job import dispatch
from slime.job.summary import print_summary

CONF = Path(__file__).resolve().parent / "conf"
RECIPES = Path(__file__).resolve().parent / "recipes"


def main() -> int:
    """The exit code: 0, or that of the first job that did not end well."""
    try:
        with one_line_errors():
            command_line = read_arguments(sys.argv[1:])
            if command_line.completion is not None:
                print(completion.script(command_line.completion, Path(__file__).resolve()))
                return 0
            register(RECIPES, *user_folders())
            if command_line.help:
                print(help_text(CONF, registered_recipes()))
                return 0
            command_line = with_past_run(with_lists(command_line), CONF)
            if command_line.show:
                print(application.show(command_line, CONF), end="")
                return 0
            if command_that_reads(command_line):
                return read(command_line)
            register_check(problems_of_files)
            ran = run(command_line)
    except KeyboardInterrupt:
        return INTERRUPTED
    if command_line.multirun:
        print_sweep(ran.jobs)
        print_summary(ran.jobs)
    return ran.exit_code


def run(command_line: CommandLine) -> application.Ran:
    """One run, or the jobs of a sweep; no process is left when they have ended, however."""
    argv = tuple(sys.argv)
    if not command_line.multirun:
        return application.run(command_line, CONF, Job(dispatch.run, argv))
    with terminate_like_an_interrupt(), one_ray():
        return application.run(command_line, CONF, Job(dispatch.run_in_sweep, argv))


def read(command_line: CommandLine) -> int:
    """A command that starts no run.  -> the exit code"""
    config = read_config(command_line, CONF)
    match config.command:
        case Command.recipes:
            print(recipe_list())
        case Command.diff:
            print(difference_to(config, command_line, CONF))
        case Command.report:
            runs, folder = run_folders(config), report_folder(config)
            from slime.report.command import write_report

            return write_report(runs, folder)
        case Command.plan:
            from slime.memory.command import print_plan

            print_plan(config)
    return 0


def problems_of_files(config: Config) -> Iterator[str]:
    """What small files and folders say before a run starts.

    Imported here, because a config that is wrong by itself ends without.
    """
    from slime.check import preflight as check_problems
    from slime.checkpoint import check as checkpoint_check
    from slime.cluster import check as cluster_check
    from slime.memory import check as memory_check
    from slime.model import check as model_check
    from slime.reward.check import answer_problem
    from slime.rollout import check as rollout_check
    from slime.task import check as task_check
    from slime.tracking import check as tracking_check

    yield from model_check.problems(config.model)
    yield from model_check.layout_problems(config.model, config.parallel)
    yield from memory_check.problems(config)
    yield from task_check.problems(config.task, partial(answer_problem, config.reward))
    yield from rollout_check.problems(config.rollout, config.iterations)
    yield from function_problems(config)
    yield from _problems_of_weights(config)
    yield from cluster_check.problems(config.cluster, config.parallel)
    yield from tracking_check.problems(config.tracking)
    yield from checkpoint_check.problems(config.checkpoint)
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


if __name__ == "__main__":
    sys.exit(main())

"""Commands that only read: they make no run directory and import nothing heavy."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from slime.config.compose import config_loader
from slime.config.diff import Side, difference, table
from slime.config.flags import CommandLine
from slime.config.groups import RECIPE
from slime.config.names import did_you_mean
from slime.config.overrides import read_command_line
from slime.config.past_run import NAME, PAST_RUN, read_run, register_run
from slime.config.schema import Command, Config, ConfigError
from slime.config.store import found_recipes


def command_that_reads(command_line: CommandLine) -> Command | None:
    """The command that is asked for, if it only reads."""
    given = [text.lstrip("+").partition("=") for text in command_line.overrides]
    asked = [value.strip("'\"") for key, _, value in given if key == "command"]
    reading = (command for command in Command if command.only_reads)
    return next((command for command in reading if command.name in asked[-1:]), None)


def with_lists(command_line: CommandLine) -> CommandLine:
    """runs=A means runs=[A], and runs=A,B means runs=[A,B]: no command sweeps over it."""
    overrides = tuple(_as_list(text) for text in command_line.overrides)
    return replace(command_line, overrides=overrides)


def _as_list(text: str) -> str:
    key, _, value = text.partition("=")
    is_list = key != "runs" or not value or value.startswith("[")
    return text if is_list else f"{key}=[{value}]"


def read_config(command_line: CommandLine, conf: Path) -> Config:
    """The config of a command that only reads.  Raises ConfigError with a line for each problem."""
    command = command_that_reads(command_line)
    if command is not None and command_line.multirun:
        raise ConfigError(f"command={command.name} starts no run to sweep over: drop --multirun")
    if command is not None and (several := list(_several(command, command_line.overrides))):
        raise ConfigError("\n".join(several))
    return read_command_line(config_loader(conf), command_line.overrides)


def _several(command: Command, overrides: Sequence[str]) -> Iterator[str]:
    """Without -m, but as if for a sweep; what cannot be read is told with everything else."""
    parser = OverridesParser.create()
    for text in overrides:
        try:
            if parser.parse_override(text).is_sweep_override():
                yield f"{text!r}: command={command.name} looks at one config: write one value"
        except HydraException:
            continue


def recipe_list() -> str:
    """A line for each recipe: name and first line of its file; where it is, if the user's."""
    rows = []
    for recipe in found_recipes():
        where = f"({', '.join(map(str, recipe.files))})" if recipe.own else ""
        rows.append([recipe.name, f"{recipe.summary} {where}".strip()])
    return table(rows) if rows else "there are no recipes"


def difference_to(config: Config, command_line: CommandLine, conf: Path) -> str:
    """The answer to command=diff.

    config: what the command line composes to.
    Raises ConfigError if `against` names neither a recipe nor a run directory.
    """
    assert config.against is not None
    against = _against(config.against, config_loader(conf))
    return difference(Side(_title(config, command_line.overrides), config), against)


def run_folders(config: Config) -> list[Path]:
    """The folders that `runs` names, patterns expanded.  Raises ConfigError for one not there."""
    return list(dict.fromkeys(_expanded(config.runs)))


def report_folder(config: Config) -> Path:
    """Where command=report writes."""
    if config.report.folder is not None:
        return Path(config.report.folder).expanduser()
    return run_folders(config)[0] / "report"


def _expanded(names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        folder = Path(name).expanduser()
        found = [folder] if folder.is_dir() else map(Path, sorted(glob.glob(str(folder))))
        folders = [path for path in found if path.is_dir()]
        if not folders:
            raise ConfigError(f"runs: {name} is not a folder")
        yield from folders


def _against(name: str, loader: ConfigLoader) -> Side:
    recipes = [recipe.name for recipe in found_recipes() if recipe.name != NAME]
    if name in recipes:
        return Side(name, read_command_line(loader, [f"{RECIPE}={name}"]))
    if not Path(name).expanduser().is_dir():
        raise ConfigError(
            f"against={name}: there is no such recipe or folder{did_you_mean(name, recipes)}"
        )
    register_run(read_run("against", name))
    return Side(name, read_command_line(loader, [PAST_RUN]))


def _title(config: Config, overrides: Sequence[str]) -> str:
    """How the command line would be called in a word."""
    beside = [text for text in overrides if not text.startswith(("command=", "against="))]
    if not beside:
        return "the defaults"
    if beside == [f"{RECIPE}={config.recipe}"]:
        return str(config.recipe)
    if config.run is not None and beside == [PAST_RUN, f"run={config.run}"]:
        return config.run
    return "this command line"

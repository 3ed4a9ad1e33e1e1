"""The arguments of launch.py: a few flags, and overrides for Hydra."""

import re
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from slime.config.groups import BY_NAME, RECIPE
from slime.config.keys import every_key, join
from slime.config.names import meant_by
from slime.config.schema import ConfigError
from slime.config.spelling import closest

MULTIRUN = "run every combination of the values that commas separate"
SHOW = "print the config instead of running it"
PACKAGE = "with --cfg: only this node, e.g. loss or rollout.engine"
RESOLVE = "with --cfg: print what interpolations stand for"
COMPLETION = "print what makes this shell complete groups, choices and keys"
HELP = "this text"

SHELLS = ("bash", "zsh")

# Flags of Hydra that would put another config, or a pickle, in the place of the validated one.
_HYDRA_FLAGS = {
    ("--config-name", "-cn"): "there is one config; a composition is a recipe: recipe=NAME/vN",
    ("--config-path", "-cp"): "your own recipes are found through SLIME_RECIPES=<folder>",
    ("--config-dir", "-cd"): "your own recipes are found through SLIME_RECIPES=<folder>",
    ("--info", "-i"): "write --cfg job",
    ("--run", "-r"): "leave it out to run",
    ("--hydra-help",): "write --help",
    ("--version",): "write pip show slime",
    ("--shell-completion", "-sc"): "write --completion bash",
    ("--experimental-rerun",): "write command=rerun run=<run directory>",
}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What a user asked for."""

    overrides: tuple[str, ...]
    multirun: bool = False
    show: bool = False
    package: str | None = None
    resolve: bool = False
    completion: str | None = None
    help: bool = False


_LONG_NUMBER = re.compile(r"[0-9][0-9_]{999,}")  # Python itself reads no more than 4300 digits


def read_arguments(arguments: Sequence[str]) -> CommandLine:
    """Flags may stand anywhere between the overrides.

    Raises ConfigError with a line for each flag that does not exist or goes with another one.
    """
    if hydras := list(_flags_of_hydra(arguments)):
        raise ConfigError("\n".join(hydras))
    given, unknown = flag_parser().parse_known_intermixed_args(list(arguments))
    if flags := [word for word in unknown if word.startswith("-") and word != "--"]:
        raise ConfigError("\n".join(_unknown(flag) for flag in flags))
    for override in given.overrides:
        if long := _LONG_NUMBER.search(override):
            raise ConfigError(f"{override[:60]!r}...: it holds a number of {len(long[0])} digits")
        if override.lstrip("+").startswith("hydra.mode="):
            raise ConfigError(f"{override!r}: write -m for a sweep, nothing for a run")
    if given.cfg and given.multirun:
        raise ConfigError("--cfg prints one config: drop --multirun")
    for flag, value in (("--package", given.package), ("--resolve", given.resolve)):
        if value and not given.cfg:
            raise ConfigError(f"{flag} goes with --cfg job")
    return CommandLine(
        overrides=tuple(given.overrides),
        multirun=given.multirun,
        show=given.cfg is not None,
        package=given.package,
        resolve=given.resolve,
        completion=given.completion,
        help=given.help,
    )


def flag_parser() -> ArgumentParser:
    """Hydra's own flags, as far as they leave the validated config in charge."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true", help=MULTIRUN)
    parser.add_argument("-c", "--cfg", choices=["job"], help=SHOW)
    parser.add_argument("-p", "--package", metavar="NODE", help=PACKAGE)
    parser.add_argument("--resolve", action="store_true", help=RESOLVE)
    parser.add_argument("--completion", choices=SHELLS, help=COMPLETION)
    parser.add_argument("-h", "--help", action="store_true", help=HELP)
    parser.add_argument("overrides", nargs="*")
    return parser


class _Parser(ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        for action in self._actions:
            flag = action.option_strings[-1] if action.option_strings else None
            if flag and flag in message:
                if action.nargs == 0:
                    raise ConfigError(f"{flag} stands alone: write {flag}, and settings after it")
                value = "|".join(action.choices or [str(action.metavar)])
                raise ConfigError(f"{flag} takes one word: write {flag} {value}")
        raise ConfigError(f"{message} (see --help)")


def _flags_of_hydra(arguments: Sequence[str]) -> Iterator[str]:
    for word in arguments:
        for flags, advice in _HYDRA_FLAGS.items():
            if word.partition("=")[0] in flags:
                yield f"{word!r} is a flag of Hydra that slime does not have: {advice}"


def _unknown(flag: str) -> str:
    """A flag that slime has, misspelt; or a setting, written as other programs have it."""
    name, equals, value = flag.partition("=")
    near = closest(name, flag_parser()._option_string_actions, cutoff=0.7)
    if near and not equals:
        end = " (a setting is key=value; --help lists what there is)"
        return f"unknown flag {flag!r}; did you mean {near!r}?{end}"
    setting = _setting(name.lstrip("-").replace("-", "_"), value)
    if setting is None:
        return f"unknown flag {flag!r} (a setting is key=value; --help lists what there is)"
    return f"unknown flag {flag!r}; a setting has no dashes: write {setting}"


def _setting(name: str, value: str) -> str | None:
    """The override that a flag of this name stands for; None if it reminds of nothing."""
    known = [*BY_NAME, RECIPE, *(join(*place) for place in every_key())]
    meant = name if name in known else meant_by(name)
    if meant in BY_NAME:
        value = closest(value, BY_NAME[meant].options) or "|".join(BY_NAME[meant].options)
    return f"{meant}={value or '<value>'}" if meant else None

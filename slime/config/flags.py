"""The arguments of launch.py: a few flags, and overrides for Hydra."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn

from slime.config.schema import ConfigError

MULTIRUN = "run every combination of the values that commas separate"
SHOW = "print the config instead of running it"
PACKAGE = "with --cfg: only this node, e.g. loss or rollout.engine"
RESOLVE = "with --cfg: print what interpolations stand for"
HELP = "this text"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What a user asked for."""

    overrides: tuple[str, ...]
    multirun: bool = False
    show: bool = False
    package: str | None = None
    resolve: bool = False
    help: bool = False


def read_arguments(arguments: Sequence[str]) -> CommandLine:
    """Flags may stand anywhere between the overrides.

    Raises ConfigError for a flag that does not exist or does not go with another one.
    """
    given = flag_parser().parse_intermixed_args(list(arguments))
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
        help=given.help,
    )


def flag_parser() -> ArgumentParser:
    """Hydra's own flags, as far as they leave the validated config in charge.

    (Hydra also has flags that put another config, or a pickle, in its place.)
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true", help=MULTIRUN)
    parser.add_argument("-c", "--cfg", choices=["job"], help=SHOW)
    parser.add_argument("-p", "--package", metavar="NODE", help=PACKAGE)
    parser.add_argument("--resolve", action="store_true", help=RESOLVE)
    parser.add_argument("-h", "--help", action="store_true", help=HELP)
    parser.add_argument("overrides", nargs="*")
    return parser


class _Parser(ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        _, unknown, rest = message.partition("unrecognized arguments: ")
        raise ConfigError(self._unknown(rest.split()[0]) if unknown else f"{message} (see --help)")

    def _unknown(self, flag: str) -> str:
        name, _, value = flag.partition("=")
        if value:
            key = name.lstrip("-").replace("-", "_")
            return f"unknown flag {flag!r}; a setting has no dashes: {key}={value}"
        near = get_close_matches(name, self._option_string_actions, n=1, cutoff=0.7)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown flag {flag!r}{guess} (a setting is key=value; --help lists what there is)"

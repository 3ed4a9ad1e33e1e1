"""What of a command line is Hydra's own flags, and what is overrides."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from slime.config.schema import ConfigError

# They would put another config, or a pickle, in the place of the one that is validated.
REFUSED = ("config_path", "config_name", "config_dir", "experimental_rerun")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The arguments of launch.py."""

    flags: tuple[str, ...]
    overrides: tuple[str, ...]
    help: bool
    multirun: bool

    @property
    def arguments(self) -> list[str]:
        """Flags first: the order in which Hydra reads all of them."""
        return [*self.flags, *self.overrides]


def read_flags(arguments: Sequence[str]) -> CommandLine:
    """Split the arguments; flags may stand anywhere.

    Raises ConfigError for a flag that does not exist or does not go with another one.
    """
    parser = get_args_parser()
    parser.__class__ = _Parser
    parsed = parser.parse_intermixed_args(list(arguments))
    for name in REFUSED:
        if getattr(parsed, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is not supported")
    if parsed.resolve and parsed.cfg is None:
        raise ConfigError("--resolve goes with --cfg job")
    if parsed.package is not None and parsed.cfg is None:
        raise ConfigError("--package goes with --cfg job")
    actions = (parsed.run, parsed.multirun, parsed.cfg, parsed.info, parsed.shell_completion)
    if sum(bool(action) for action in actions) > 1:
        raise ConfigError("only one of --run, --multirun, --cfg, --info can be asked for at once")
    overrides = tuple(parsed.overrides)
    flags = tuple(argument for argument in arguments if argument not in overrides)
    return CommandLine(flags, overrides, parsed.help, parsed.multirun)


class _Parser(ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        _, unknown, rest = message.partition("unrecognized arguments: ")
        if not unknown:
            raise ConfigError(f"{message} (--help lists what there is)")
        raise ConfigError(self._unknown(rest.split()[0]))

    def _unknown(self, flag: str) -> str:
        name, _, value = flag.partition("=")
        if value:
            key = name.lstrip("-").replace("-", "_")
            return f"unknown flag {flag!r}; a setting has no dashes: {key}={value}"
        near = get_close_matches(name, self._option_string_actions, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown flag {flag!r}{guess} (settings are key=value; --help lists them)"

"""command=rerun: a past run's values as the ground that the rest of the command line stands on."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from slime.config.compose import config_loader
from slime.config.diff import changed_values
from slime.config.fingerprint import fingerprint, training_values
from slime.config.flags import CommandLine
from slime.config.groups import RECIPE
from slime.config.overrides import read_command_line
from slime.config.past_run import PAST_RUN, PastRun, read_run, register_run
from slime.config.provenance import code_record
from slime.config.schema import Command, Config, ConfigError
from slime.reading import in_one_line

_NOTHING = object()
COMMANDS = (Command.rerun.name, Command.diff.name)


def with_past_run(command_line: CommandLine, conf: Path) -> CommandLine:
    """The same command line on top of the run that `run=` names; unchanged if it names none.

    Registers the run's values as a recipe, and says on stderr what is not as it was.
    conf: the folder of the config groups.
    Raises ConfigError for a folder that holds no run, or one that slime no longer understands.
    """
    if not any(text.lstrip("+").startswith("run=") for text in command_line.overrides):
        return command_line
    given = {override.key_or_group: override for override in _readable(command_line.overrides)}
    command = str(given["command"].value()) if "command" in given else ""
    if command not in COMMANDS or "run" not in given or not given["run"].value():
        return command_line
    if given["run"].is_sweep_override():
        raise ConfigError(f"{given['run'].input_line!r}: {command} takes one run at a time")
    run = read_run("run", str(given["run"].value()))
    if RECIPE in given:
        text = given[RECIPE].input_line
        raise ConfigError(f"{text!r}: run={run.folder} brings its own recipe: drop one of them")
    register_run(run)
    grounded = (PAST_RUN, *command_line.overrides)
    if command == Command.rerun.name:
        _tell(run, _not_as_it_was(run, config_loader(conf), given, grounded))
    return replace(command_line, overrides=grounded)


def _readable(overrides: Sequence[str]) -> Iterator[Override]:
    """What cannot be read is told later, with everything else that is wrong."""
    parser = OverridesParser.create()
    for text in overrides:
        try:
            yield parser.parse_override(text)
        except HydraException:
            continue


def _not_as_it_was(
    run: PastRun,
    loader: ConfigLoader,
    given: Mapping[str, Override],
    overrides: Sequence[str],
) -> Iterator[str]:
    yield from code_differences(run.record, code_record())
    address = _value(run.values, "cluster.address")
    if address is not None and not {"cluster", "cluster.address"} & given.keys():
        yield f"cluster.address={address} then; only the command line sets it, and it does not"
    alone = (PAST_RUN, *(str(given[key].input_line) for key in ("command", "run")))
    before = _read(loader, alone)
    now = before if set(alone) == set(overrides) else _read(loader, overrides)
    if before is not None and fingerprint(before) != run.record["fingerprint"]:
        yield _composes_differently(run, before)
    if before is not None and now is not None and fingerprint(now) != fingerprint(before):
        changes = ", ".join(changed_values(training_values(before), training_values(now)))
        yield f"fingerprint {fingerprint(now)} is not the run's {fingerprint(before)}: {changes}"


def _read(loader: ConfigLoader, overrides: Sequence[str]) -> Config | None:
    """None for what is wrong or a sweep; whoever runs it says so."""
    try:
        return read_command_line(loader, overrides)
    except ConfigError:
        return None


def code_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """A line for each thing about the code that differs between two records of provenance."""
    if before.get("commit") != now["commit"]:
        yield f"commit {before.get('commit')} then, {now['commit']} now"
    if before.get("dirty"):
        yield "the checkout had uncommitted changes then"
    if now["dirty"]:
        yield "the checkout has uncommitted changes now"
    versions = {"python": before.get("python"), **(before.get("versions") or {})}
    for package, version in ({"python": now["python"]} | now["versions"]).items():
        if versions.get(package) != version:
            yield f"{package} {versions.get(package)} then, {version} now"


def _composes_differently(run: PastRun, config: Config) -> str:
    values = training_values(config)
    new = ", ".join(f"{key}={values[key]}" for key in values if not _holds(run.values, key))
    why = (
        f"keys that are new since then: {new}"
        if new
        else ("its files or its data were changed since, or fingerprints are taken differently now")
    )
    return f"fingerprint {run.record['fingerprint']} then, {fingerprint(config)} now ({why})"


def _holds(values: object, path: str) -> bool:
    return _value(values, path, _NOTHING) is not _NOTHING


def _value(values: object, path: str, default: object = None) -> object:
    for name in path.split("."):
        if not isinstance(values, Mapping) or name not in values:
            return default
        values = values[name]
    return values


def _tell(run: PastRun, lines: Iterator[str]) -> None:
    for line in lines:
        print(f"config warning: run={run.folder}: {in_one_line(line)}", file=sys.stderr)

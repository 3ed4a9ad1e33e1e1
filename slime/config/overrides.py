"""Everything that is wrong with one command line, override by override.

Hydra stops at the first mistake, takes what + pushes past the schema, and reads a quoted number as
a number.  Here each override is judged on its own, and the rest of the config as if the wrong ones
had not been written.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slime.config.build import node_classes, read, relabelled
from slime.config.compose import compose
from slime.config.explain import explain, unreadable
from slime.config.groups import BY_NAME, BY_NODE, RECIPE, every_key, is_label, is_node, join
from slime.config.names import unknown_choice, unknown_group, unknown_key
from slime.config.schema import Config, ConfigError, Node
from slime.config.store import registered_recipes
from slime.config.values import wrong_value


def read_command_line(loader: ConfigLoader, overrides: Sequence[str]) -> Config:
    """The config of one job.  Raises ConfigError with a line for each problem there is."""
    reader = _Reader(overrides)
    try:
        cfg = compose(loader, reader.choices)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError("\n".join([*reader.found, *explain(error)])) from error
    for override in reader.fitting(node_classes(cfg)):
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    return _finish(cfg, reader)


def read_composed(cfg: DictConfig, overrides: Sequence[str]) -> Config:
    """The same for what Hydra has made of the overrides, without Hydra's own node."""
    reader = _Reader(overrides)
    reader.fitting(node_classes(cfg))
    return _finish(cfg, reader)


def _finish(cfg: DictConfig, reader: "_Reader") -> Config:
    config, found = read(cfg, told=reader.refused)
    lines = dict.fromkeys([*reader.found, *found])
    if lines:
        raise ConfigError("\n".join(lines))
    return config


class _Reader:
    """Sorts overrides into choices of groups and values of keys, and collects what is wrong."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self.found: list[str] = []
        self.choices: list[str] = []  # overrides that Hydra itself resolves
        self.refused: set[str] = set()  # keys that were given, but not in a way they can be read
        self._values: list[Override] = []
        for text in overrides:
            self._sort(text)

    def _sort(self, text: str) -> None:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            self.found.append(unreadable(text, error))
            self.refused.add(text.partition("=")[0].lstrip("+"))
            return
        if override.is_sweep_override():
            self.found.append(_sweep_without_flag(override))
        elif override.key_or_group == "hydra.mode":
            self.found.append(f"{text!r}: write -m for a sweep, nothing for a run")
        elif override.is_hydra_override():
            self.choices.append(text)
        elif _names_a_group(override):
            problems = list(_group_problems(override))
            self.found += problems
            if not problems:
                self.choices.append(text)
            elif override.key_or_group in BY_NAME:
                self.refused.add(BY_NAME[override.key_or_group].node)
        else:
            self._values.append(override)

    def fitting(self, tree: dict[str, type[Node]]) -> list[Override]:
        """The values that fit their keys in a composition of these classes."""
        fit: list[Override] = []
        for override in self._values:
            problems = list(_value_problems(override, tree))
            self.found += problems
            if problems:
                self.refused.add(override.key_or_group)
            else:
                fit.append(override)
        return fit


def _sweep_without_flag(override: Override) -> str:
    text = override.input_line
    if override.value_type == ValueType.SIMPLE_CHOICE_SWEEP:
        key, _, values = str(text).partition("=")
        return f"{text!r} names several values: add -m to run them all, or write {key}=[{values}]"
    return f"{text!r} names several values: add -m to run them all"


def _names_a_group(override: Override) -> bool:
    key = override.key_or_group
    if isinstance(override.value(), dict):
        return False
    return key in BY_NAME or key == RECIPE or "/" in key or override.package is not None


def _group_problems(override: Override) -> Iterator[str]:
    key, choice = override.key_or_group, override.value()
    written = str(override.input_line).partition("=")[2]
    if key not in BY_NAME and key != RECIPE:
        dotted = key.replace("/", ".")
        is_key = any(join(*where) == dotted for where in every_key())
        yield f"{key!r} is a key, not a group: write {dotted}=..." if is_key else unknown_group(key)
        return
    if override.is_delete():
        yield f"'~{key}': a group cannot be removed; choose another with {key}=<choice>"
    elif override.is_add() or override.is_force_add() or override.package is not None:
        yield f"{override.input_line!r}: write {key}={written}"
    elif choice is None and key == RECIPE:
        yield f"{override.input_line!r}: leave it out to have no recipe"
    else:
        options = registered_recipes() if key == RECIPE else BY_NAME[key].options
        if choice not in options:
            yield unknown_choice(key, written, options)


def _value_problems(override: Override, tree: dict[str, type[Node]]) -> Iterator[str]:
    key = override.key_or_group
    if override.is_delete():
        yield f"'~{key}': a key cannot be removed; leave it out to have its default"
        return
    problems = list(_problems_at(key, override._value, tree))
    yield from problems
    if override.is_add() and not problems and not isinstance(override._value, dict):
        yield f"{override.input_line!r}: {key!r} exists, write it without the +"


def _problems_at(path: str, value: Any, tree: dict[str, type[Node]]) -> Iterator[str]:
    """What is wrong with putting `value` at the dotted `path`."""
    if path in tree and isinstance(value, dict):
        for key, inner in value.items():
            yield from _problems_at(join(path, _text(key)), inner, tree)
    elif is_label(path):
        yield relabelled(path, _text(value))
    elif path in tree or is_node(path):
        yield _value_for_a_node(path, _text(value))
    else:
        field = _field_at(path, tree)
        if field is None:
            yield unknown_key(path, tree)
        elif (problem := wrong_value(path, field, value)) is not None:
            yield problem


def _value_for_a_node(path: str, value: str) -> str:
    group = BY_NODE.get(path)
    if group is not None and value in group.options:
        return f"{path!r} is chosen by its group, with a slash: write {group.name}={value}"
    if group is not None:
        return unknown_choice(path.replace(".", "/"), value, group.options)
    return f"{path!r} has keys of its own: set those, e.g. {path}.<key>=<value>"


def _field_at(path: str, tree: dict[str, type[Node]]) -> dataclasses.Field[Any] | None:
    node, _, key = path.rpartition(".")
    if node not in tree:
        return None
    fields = dataclasses.fields(tree[node])  # type: ignore[arg-type]
    return next((field for field in fields if field.name == key), None)


def _text(value: object) -> str:
    return value.text if isinstance(value, QuotedString) else str(value)

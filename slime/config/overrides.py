"""Everything that is wrong with one command line, override by override.

Hydra stops at the first mistake, takes what + pushes past the schema, and reads a quoted number as
a number.  Here each override is judged on its own, and the rest of the config as if the wrong ones
had not been written.
"""

import re
from collections.abc import Iterator, Sequence
from typing import get_origin

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slime.config.assignments import problems_at
from slime.config.build import field_at, node_classes, read
from slime.config.choices import group_problems, names_a_group
from slime.config.compose import compose
from slime.config.explain import explain
from slime.config.functions import not_named_on
from slime.config.groups import BY_NAME
from slime.config.hydra_keys import hydra_problem, touches_hydra
from slime.config.keys import every_field, join
from slime.config.names import meant_by
from slime.config.recipe_values import wrong_in_recipe, wrong_values
from slime.config.repeated import repeated
from slime.config.schema import Config, ConfigError, Node
from slime.config.unreadable import unreadable
from slime.config.values import takes_text


def read_command_line(loader: ConfigLoader, overrides: Sequence[str]) -> Config:
    """The config of one job.  Raises ConfigError with a line for each problem there is."""
    reader = _Reader(overrides)
    try:
        cfg = compose(loader, reader.choices)
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        raise ConfigError("\n".join(_why_it_does_not_compose(loader, reader, error))) from error
    tree = node_classes(cfg)
    reader.found += wrong_in_recipe(reader.choices, tree)
    for override in reader.fitting(tree):
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    return _finish(cfg, reader)


def read_composed(cfg: DictConfig, overrides: Sequence[str]) -> Config:
    """The same for what Hydra has made of the overrides, without Hydra's own node."""
    reader = _Reader(overrides)
    reader.fitting(node_classes(cfg))
    return _finish(cfg, reader)


def _finish(cfg: DictConfig, reader: "_Reader") -> Config:
    config, found = read(cfg, told=reader.refused)
    lines = dict.fromkeys([*reader.found, *found, *not_named_on(reader.values, config)])
    if lines:
        raise ConfigError("\n".join(lines))
    return config


def _why_it_does_not_compose(
    loader: ConfigLoader, reader: "_Reader", error: Exception
) -> list[str]:
    """What is wrong with the choices, the recipe and, as far as can be known then, the values."""
    try:
        tree, wrong = wrong_values(loader, reader.choices)
    except (ConfigError, HydraException, OmegaConfBaseException):
        return [*reader.found, *explain(error)]
    reader.fitting(tree)
    return [*reader.found, *(wrong or explain(error))]


class _Reader:
    """Sorts overrides into choices of groups and values of keys, and collects what is wrong."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self.found: list[str] = []
        self.choices: list[str] = []  # overrides that Hydra itself resolves
        self.refused: set[str] = set()  # keys that were given, but not in a way they can be read
        self.values: list[Override] = []
        read: list[Override] = []
        for text in overrides:
            read += self._sort(text)
        self.found += repeated(read)

    def _sort(self, text: str) -> list[Override]:
        """The override, if it can be read at all."""
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            self.found.append(unreadable(text, error))
            self._told_about(re.split("[=:]", text.lstrip("+"), maxsplit=1)[0].strip())
            return []
        if not override.key_or_group:
            self.found.append(unreadable(text, ValueError("no key")))
            return []
        if override.is_sweep_override() and not touches_hydra(override):
            self.found.append(_sweep_without_flag(override))
            self._told_about(override.key_or_group)
        elif touches_hydra(override):
            problems = list(hydra_problem(override, multirun=False))
            self.found += problems
            if not problems:
                self.choices.append(text)
        elif names_a_group(override):
            problems = list(group_problems(override))
            self.found += problems
            if not problems:
                self.choices.append(text)
            elif override.key_or_group in BY_NAME:
                self.refused.add(BY_NAME[override.key_or_group].node)
            else:
                self._told_about(override.key_or_group.replace("/", "."))
        else:
            self.values.append(override)
        return [override]

    def _told_about(self, key: str) -> None:
        """Of the key, and of the one that was meant."""
        self.refused |= {key, meant_by(key) or key}

    def fitting(self, tree: dict[str, type[Node]]) -> list[Override]:
        """The values that fit their keys in a composition of these classes."""
        fit: list[Override] = []
        for override in self.values:
            node = override.key_or_group.rpartition(".")[0]
            if node in self.refused and field_at(override.key_or_group, tree) is None:
                continue  # the key may well be one of the choice that was misspelt
            problems = list(_value_problems(override, tree))
            self.found += problems
            if problems:
                self._told_about(override.key_or_group)
            else:
                fit.append(override)
        return fit


def _sweep_without_flag(override: Override) -> str:
    text = str(override.input_line)
    key, _, values = text.partition("=")
    said = f"{text!r} names several values: add -m to run them all"
    types = [field.type for node, _, field in every_field() if join(node, field.name) == key]
    if override.value_type != ValueType.SIMPLE_CHOICE_SWEEP or not types:
        return said
    if get_origin(types[0]) is list:
        return f"{said}, or write {key}=[{values}]"
    return f"{said}, or write '{key}=\"{values}\"'" if takes_text(types[0]) else said


def _value_problems(override: Override, tree: dict[str, type[Node]]) -> Iterator[str]:
    key = override.key_or_group
    if override.is_delete():
        yield f"'~{key}': a key cannot be removed; leave it out to have its default"
        return
    problems = list(problems_at(key, override._value, tree))
    yield from problems
    if override.is_add() and not problems and not isinstance(override._value, dict):
        yield f"{override.input_line!r}: {key!r} exists, write it without the +"

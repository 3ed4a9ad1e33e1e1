"""DictConfig -> Config, or one ConfigError that names every key that is wrong and what to write."""

import dataclasses
from collections.abc import Collection
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slime.config.groups import BY_NODE, field_names
from slime.config.interpolation import unresolved
from slime.config.keys import group_that_writes, is_label, join
from slime.config.names import did_you_mean, unknown_key
from slime.config.schema import Config, ConfigError, Node
from slime.config.schema.base import all_problems, default_value, is_required


def build(cfg: DictConfig) -> Config:
    """The typed, immutable config of one run.

    cfg: a composition without Hydra's own node.
    Raises ConfigError with one line for each problem there is.
    """
    config, found = read(cfg)
    if found:
        raise ConfigError("\n".join(found))
    return config


def read(cfg: DictConfig, told: Collection[str] = ()) -> tuple[Config, list[str]]:
    """(the config as far as it can be read, every problem).

    Where a value cannot be read its default stands in, so that the other problems still show.
    told: keys about which something has been said already; they are not called missing or unknown.
    """
    reader = _Reader(node_classes(cfg), told)
    config = reader.node(cfg, "")
    assert isinstance(config, Config)
    known = {is_required(path) for path in reader.missing}
    return config, [*reader.found, *(line for line in all_problems(config) if line not in known)]


def node_classes(cfg: DictConfig, path: str = "") -> dict[str, type[Node]]:
    """The class of every node of a composition, by its dotted path; the root is ""."""
    classes = {path: _class_of(cfg)}
    for field in dataclasses.fields(classes[path]):  # type: ignore[arg-type]
        child = cfg._get_node(field.name, validate_access=False)
        if isinstance(child, DictConfig) and _is_typed(child):
            classes |= node_classes(child, join(path, field.name))
    return classes


def field_at(path: str, tree: dict[str, type[Node]]) -> dataclasses.Field[Any] | None:
    """The field of the key at a dotted path of a composition; None if there is no such key."""
    node, _, key = path.rpartition(".")
    if node not in tree:
        return None
    fields = dataclasses.fields(tree[node])  # type: ignore[arg-type]
    return next((field for field in fields if field.name == key), None)


class _Reader:
    """Collects problems while it turns nodes into dataclasses."""

    def __init__(self, tree: dict[str, type[Node]], told: Collection[str]) -> None:
        self._tree = tree
        self._told = told
        self.found: list[str] = []
        self.missing: list[str] = []

    def node(self, cfg: DictConfig, path: str) -> Node:
        schema = self._tree[path]
        known = field_names(schema)
        unknown = [join(path, str(key)) for key in cfg if key not in known]
        self.found += [unknown_key(p, self._tree) for p in unknown if not self._was_told(p)]
        fields = dataclasses.fields(schema)  # type: ignore[arg-type]
        return schema(**{f.name: self._value(cfg, f, join(path, f.name)) for f in fields})

    def _value(self, cfg: DictConfig, field: dataclasses.Field[Any], path: str) -> Any:
        if path in self._tree:
            return self.node(cfg[field.name], path)
        if field.name not in cfg.keys() or OmegaConf.is_missing(cfg, field.name):  # noqa: SIM118
            self.missing.append(path)
            if not self._was_told(path):
                self.found.append(required(path, field))
            return default_value(field)
        try:
            value = cfg[field.name]
            if isinstance(value, ListConfig):
                value = list(value)
        except OmegaConfBaseException as error:
            written = OmegaConf.to_container(cfg, resolve=False)[field.name]  # type: ignore[call-overload,index]
            self.found.append(f"{path}={_text(written)}: {unresolved(error)}")
            self.missing.append(path)
            return default_value(field)
        if is_label(path) and value != default_value(field):
            self.found.append(relabelled(path, value))
        return value

    def _was_told(self, path: str) -> bool:
        """Of the key itself, of what is below it, or of the group whose node it is in."""
        return any(
            given == path or given.startswith(f"{path}.") or path.startswith(f"{given}.")
            for given in self._told
        )


def required(path: str, field: dataclasses.Field[Any]) -> str:
    """The sentence for a value that has no default and was not given."""
    if path in BY_NODE:
        group = BY_NODE[path]
        return f"{is_required(path)}: pass {group.name}={'|'.join(group.options)}"
    meaning = field.metadata.get("meaning", "it has keys of its own")
    return f"{is_required(path)} ({meaning}): pass {path}=<value>"


def relabelled(path: str, value: object) -> str:
    """The sentence for a key that only its group may write."""
    group = group_that_writes(path)
    if value not in group.options:
        wanted = did_you_mean(str(value), group.options)
        return f"{path!r} is written by the group {group.name}, which has no {value!r}{wanted}"
    return f"{path!r} is written by its group: select it with {group.name}={value}"


def _class_of(cfg: DictConfig) -> type[Node]:
    schema = OmegaConf.get_type(cfg)
    assert schema is not None
    assert issubclass(schema, Node)
    return schema


def _is_typed(cfg: DictConfig) -> bool:
    return not cfg._is_missing() and not cfg._is_none() and OmegaConf.get_type(cfg) is not dict


def _text(written: object) -> str:
    """A value as the command line has it."""
    if isinstance(written, list):
        return f"[{','.join(str(item) for item in written)}]"
    return str(written)

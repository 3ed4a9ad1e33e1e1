"""Every key there is, by its dotted path: of the root, of its nodes, of every choice of a group."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from slime.config.groups import BY_NODE, GROUPS, RECIPE, Group
from slime.config.schema import Config, Node


def every_key() -> Iterator[tuple[str, str]]:
    """(path of a node, key) for every key that some composition has, sub-nodes and labels left out.

    A key that several choices of a group share comes once.
    """
    yield from dict.fromkeys((node, field.name) for node, _, field in every_field())


def every_field() -> Iterator[tuple[str, type[Node], dataclasses.Field[Any]]]:
    """(path of a node, a class it may have, a field) for every value that a user may set."""
    for node, schema in dict.fromkeys(_every_node()):  # some choices share a class
        for field in dataclasses.fields(schema):  # type: ignore[arg-type]
            path = join(node, field.name)
            if path != RECIPE and not is_label(path) and not is_node(path):
                yield node, schema, field


def _every_node() -> Iterator[tuple[str, type[Node]]]:
    yield "", Config
    for field in dataclasses.fields(Config):
        schema = field.type
        if isinstance(schema, type) and issubclass(schema, Node) and field.name not in BY_NODE:
            yield field.name, schema
    for group in GROUPS:
        yield from ((group.node, choice.schema) for choice in group.choices)


def join(node: str, key: str) -> str:
    return f"{node}.{key}" if node else key


def is_node(path: str) -> bool:
    """Whether a dotted path names a node: something that has keys, not a value."""
    return path in _NODES


def is_label(path: str) -> bool:
    """Whether a dotted path names a key that only a group may write."""
    return path in _WRITERS


_NODES = {node for node, _ in _every_node()}
_WRITERS = {join(group.node, group.label): group for group in GROUPS if group.label}


def group_that_writes(label: str) -> Group:
    """The group whose choice stands in the key at this dotted path."""
    return _WRITERS[label]

"""What is wrong with putting a value at a key of a composition."""

from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.types import QuotedString

from slime.config.build import field_at, relabelled
from slime.config.choices import recipe_called
from slime.config.groups import BY_NODE
from slime.config.keys import is_label, is_node, join
from slime.config.names import unknown_choice, unknown_key
from slime.config.schema import Node
from slime.config.values import wrong_value


def problems_at(path: str, value: Any, tree: dict[str, type[Node]]) -> Iterator[str]:
    """A sentence for each thing that is wrong with `value`, or what it maps to, at this path.

    tree: the class of every node of the composition by its dotted path; the root is "".
    """
    for here, inner in leaves(path, value, tree):
        if is_label(here):
            yield relabelled(here, text_of(inner))
        elif here in tree or is_node(here):
            yield _value_for_a_node(here, text_of(inner))
        else:
            yield from _wrong_key(here, inner, tree)


def leaves(path: str, value: Any, tree: dict[str, type[Node]]) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) for everything that a value, or a mapping of them, sets."""
    if path in tree and isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(join(path, text_of(key)), inner, tree)
    else:
        yield path, value


def text_of(value: object) -> str:
    """As it was written."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value.text if isinstance(value, QuotedString) else str(value)


def _wrong_key(path: str, value: Any, tree: dict[str, type[Node]]) -> Iterator[str]:
    field = field_at(path, tree)
    if field is None:
        yield unknown_key(path, tree, None if isinstance(value, dict) else text_of(value))
    elif (problem := wrong_value(path, field, value)) is not None:
        yield problem


def _value_for_a_node(path: str, value: str) -> str:
    group = BY_NODE.get(path)
    if group is not None and value in group.options:
        return f"{path!r} is chosen by its group, with a slash: write {group.name}={value}"
    if group is not None:
        unknown = unknown_choice(path.replace(".", "/"), value, group.options)
        return unknown if unknown.endswith("?") else unknown + recipe_called(value)
    return f"{path!r} has keys of its own: set those, e.g. {path}.<key>=<value>"

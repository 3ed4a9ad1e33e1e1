"""The values of a run, flat, and which of them decide what is learned.

Two runs belong together when all of their training values but the seed agree.  As in the
fingerprint, a key that cannot change training does not count, nor does one that holds its neutral
value: a run of an older version, which lacks the key, trained the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeAlias

from slime.config.schema import Config, Node
from slime.config.schema.base import NO_NEUTRAL

Value: TypeAlias = str | int | float | bool | None

SEED = "seed"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the schema says of keys, by their path."""

    idle: frozenset[str]  # keys and nodes that cannot change training
    neutral: tuple[Mapping[str, Value], ...]  # keys that, holding all of these, do not count


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """A tree of keys as `a.b.c`; a list becomes one text."""
    flat: dict[str, Value] = {}
    for name, value in node.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = repr(value) if isinstance(value, list) else value
    return flat


def training_values(values: Mapping[str, Value]) -> dict[str, Value]:
    """What decides what is learned, without the seed."""
    rules = _rules()
    trains = {p: v for p, v in values.items() if p != SEED and can_train(p)}
    for neutral in rules.neutral:
        if all(p in trains and trains[p] == v for p, v in neutral.items()):
            trains = {p: v for p, v in trains.items() if p not in neutral}
    return trains


def can_train(path: str) -> bool:
    """Whether the key, or a node it stands in, can change what is learned."""
    names = path.split(".")
    idle = _rules().idle
    return not any(".".join(names[:depth]) in idle for depth in range(1, len(names) + 1))


@cache
def _rules() -> _Rules:
    keys = list(_keys(Config, ""))
    training = {path for path, metadata in keys if metadata.get("trains", True)}
    idle = {path for path, _ in keys} - training
    neutral = [
        _neutral_values(path, metadata.get("neutral", NO_NEUTRAL)) for path, metadata in keys
    ]
    return _Rules(frozenset(idle), tuple(values for values in neutral if values))


def _keys(node: type[Node], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key of a node, of all that may stand in its place, and of the nodes below.

    Deep nodes come first, so that a neutral node is looked at before the one that holds it.
    """
    for candidate in _and_subclasses(node):
        for f in fields(candidate):  # type: ignore[arg-type]
            path = f"{prefix}{f.name}"
            if isinstance(f.type, type) and is_dataclass(f.type) and issubclass(f.type, Node):
                yield from _keys(f.type, f"{path}.")
            yield path, f.metadata


def _and_subclasses(node: type[Node]) -> Iterator[type[Node]]:
    yield node
    for below in node.__subclasses__():
        yield from _and_subclasses(below)


def _neutral_values(path: str, neutral: object) -> dict[str, Value]:
    if neutral is NO_NEUTRAL:
        return {}
    if isinstance(neutral, type):
        node = neutral()
        return {
            p: v
            for f in fields(node)
            if f.metadata.get("trains", True)
            for p, v in _neutral_values(f"{path}.{f.name}", getattr(node, f.name)).items()
        }
    if isinstance(neutral, Node):
        return _neutral_values(path, type(neutral))
    return {path: neutral.name if isinstance(neutral, Enum) else neutral}  # type: ignore[dict-item]

"""What every config node shares: set once, validated by name, documented in place."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import field
from typing import Any

MISSING: Any = (
    "???"  # OmegaConf's own mark for "required", spelled out so torch-only users need no omegaconf
)


NO_NEUTRAL: Any = object()  # what a key has that was there from the start


class ConfigError(ValueError):
    """One or more mistakes in what the user asked for, a line each.  Exit code 2."""


class Node:
    """Base of every config dataclass.

    Frozen, in a form OmegaConf 2.3 can still merge into: a real frozen dataclass turns read-only
    inside OmegaConf and then refuses every command-line override.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(f"config is immutable: cannot set {name!r}; use replace()")
        object.__setattr__(self, name, value)

    def problems(self) -> Iterator[str]:
        """One sentence for each thing that is wrong with this node's own values."""
        yield from ()

    def idle(self) -> frozenset[str]:
        """The keys that have no effect while this node's others are what they are."""
        return frozenset()

    def warnings(self) -> Iterator[str]:
        """One sentence for each value that is legal but surely not what was meant."""
        yield from ()


def key(
    meaning: str,
    default: Any = MISSING,
    *,
    trains: bool = True,
    neutral: Any = NO_NEUTRAL,
    unit: str = "",
    since: str = "0.1",
) -> Any:
    """A config field: its one-line meaning and its default (required when left out).

    trains=False says that the value cannot change what is learned; it stays out of the fingerprint.
    neutral is the value (or, for a node, the class whose defaults are) under which training is what
    it was before the key existed: while the field holds it, it stays out of the fingerprint too,
    so a new key breaks no published recipe.  since: the version of slime that brought the key.
    """
    metadata = {
        "meaning": meaning,
        "trains": trains,
        "neutral": neutral,
        "unit": unit,
        "since": since,
    }
    return field(default=default, metadata=metadata)


def data(meaning: str, default: Any = MISSING) -> Any:
    """A config field with the path of a file or folder to learn from.

    In the fingerprint stands what is in it, not where it is.
    """
    made = key(meaning, default)
    return field(default=default, metadata={**made.metadata, "data": True})


def texts(meaning: str, *default: str, trains: bool = True, since: str = "0.1") -> Any:
    """A config field that holds a list of texts."""
    metadata = {
        "meaning": meaning,
        "trains": trains,
        "neutral": NO_NEUTRAL,
        "unit": "",
        "since": since,
    }
    return field(default_factory=lambda: list(default), metadata=metadata)


def node_of(meaning: str, neutral: type[Node], *, since: str) -> Any:
    """A config field that holds a node which came later; `neutral` is what stands there by default.

    neutral: a class whose defaults leave training as it was before the node existed.
    """
    metadata = {
        "meaning": meaning,
        "trains": True,
        "neutral": neutral,
        "unit": "",
        "since": since,
    }
    return field(default_factory=neutral, metadata=metadata)


def check(node: Node) -> None:
    """Raise one ConfigError naming every problem of `node` and of the nodes below it."""
    if not isinstance(node, Node):
        raise ConfigError(f"a config node is needed here, got a {type(node).__name__}")
    found = list(all_problems(node))
    if found:
        raise ConfigError("\n".join(found))


def all_problems(node: Node) -> Iterator[str]:
    """What is wrong with the values of `node` and of the nodes below it, a sentence each."""
    for f in dataclasses.fields(node):  # type: ignore[arg-type]
        value = getattr(node, f.name)
        if isinstance(value, Node):
            yield from all_problems(value)
    yield from node.problems()


def all_warnings(node: Node) -> Iterator[str]:
    """What is legal but surely unintended in `node` and in the nodes below it, a sentence each."""
    for f in dataclasses.fields(node):  # type: ignore[arg-type]
        value = getattr(node, f.name)
        if isinstance(value, Node):
            yield from all_warnings(value)
    yield from node.warnings()


def default_value(field: dataclasses.Field[Any]) -> Any:
    """The default of a key; MISSING if it has none."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return MISSING


def default_of(node: Node, name: str) -> Any:
    """The default of a key, whatever the node holds there."""
    fields = dataclasses.fields(node)  # type: ignore[arg-type]
    return next(default_value(f) for f in fields if f.name == name)


def is_required(path: str) -> str:
    """The sentence for a value that has no default and was not given."""
    return f"{path} is required"


def positive(path: str, value: float) -> Iterator[str]:
    if value == MISSING:
        yield is_required(path)
    elif not (_is_finite_number(value) and value > 0):
        yield f"{path} must be a finite number > 0, got {value}"


def positive_float32(path: str, value: float) -> Iterator[str]:
    """For what is computed with in float32, where 1e39 is inf."""
    found = list(positive(path, value))
    yield from found
    if not found and value > 1e30:
        yield f"{path} must be at most 1e30, got {value}"


def not_negative(path: str, value: float) -> Iterator[str]:
    if not (_is_finite_number(value) and value >= 0):
        yield f"{path} must be a finite number >= 0, got {value}"


def _is_finite_number(value: object) -> bool:
    """Not for True, which Python takes for 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def between(path: str, value: float, low: float, high: float) -> Iterator[str]:
    """low < value <= high"""
    if not low < value <= high:
        yield f"{path} must be in ({low:g}, {high:g}], got {value}"


def at_most(path: str, value: float, maximum: float) -> Iterator[str]:
    if maximum < value < math.inf:  # of inf positive() tells
        yield f"{path} must be at most {maximum:g}, got {value:g}"


def at_least(path: str, value: int, minimum: int) -> Iterator[str]:
    if value < minimum:
        yield f"{path} must be at least {minimum}, got {value}"


def a_seed(path: str, value: int) -> Iterator[str]:
    """What every random generator in use accepts."""
    if not 0 <= value < 2**32:
        yield f"{path} must be in [0, 4294967295], got {value}"


def not_empty(path: str, value: str | None) -> Iterator[str]:
    if value is not None and not value.strip():
        yield f"{path} must not be empty"

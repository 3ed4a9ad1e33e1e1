"""What a run learns from, in twelve hex digits: equal for equal training, whoever wrote it how.

It covers exactly the values that change training.  Left out are keys that cannot (trains=False:
where workers run, how a step is laid out, what is written where, how often it is evaluated), keys
that others leave without effect, and keys that hold their neutral value, so that a key which is new
to slime changes no old fingerprint.  For the path of a file or folder stands what is in it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

from slime.config.contents import content
from slime.config.groups import RECIPE
from slime.config.keys import join
from slime.config.renamed import original_name
from slime.config.schema import Config, Node
from slime.config.schema.base import NO_NEUTRAL

Values = dict[str, Any]  # dotted path -> number, text, truth value, null or list of texts

# Keys and nodes of the root that say what to do with the config, and with which runs.
ERRAND = frozenset({"command", RECIPE, "against", "run", "runs", "report", "sweep"})


class Role(Enum):
    """What a value has to do with training."""

    trains = "changes it"
    neutral = "leaves it as it was before the key existed"
    beside = "cannot change it"
    errand = "is no part of the config: see ERRAND"


def fingerprint(config: Config) -> str:
    """12 hex digits: equal for equal training values, whichever recipe or overrides gave them."""
    return fingerprint_of(marked_values(config))


def marked_values(config: Config) -> Values:
    """training_values(), with what lies there in the place of every path."""
    return training_values(config) | contents(config)


def fingerprint_of(values: Values) -> str:
    """The same for values that marked_values() gave.

    A key counts under the first name it ever had: renaming it changes nothing.
    """
    named = {original_name(path): value for path, value in values.items()}
    text = json.dumps(named, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def contents(config: Config) -> dict[str, str]:
    """What lies where the config says that data is: a digest by dotted path."""
    return dict(_contents(config, ""))


def training_values(config: Config) -> Values:
    """Every value that changes training, by its dotted path."""
    return values_of(config, Role.trains)


def values_of(config: Config, *roles: Role) -> Values:
    """Every value that has one of these roles, by its dotted path."""
    return {path: value for path, value, role in _leaves(config, "") if role in roles}


def is_neutral(field: dataclasses.Field[Any], value: object) -> bool:
    """Whether training is what it was before this field of a node existed."""
    neutral = field.metadata.get("neutral", NO_NEUTRAL)
    if neutral is NO_NEUTRAL:
        return False
    if isinstance(neutral, type) and issubclass(neutral, Node):
        assert isinstance(value, Node)
        return type(value) is neutral and _trains_like(value, neutral())
    return bool(value == neutral)


def _trains_like(one: Node, other: Node) -> bool:
    mine, theirs = (
        [(path, value) for path, value, role in _leaves(node, "node") if role is Role.trains]
        for node in (one, other)
    )
    return mine == theirs


def _leaves(node: Node, path: str, above: Role = Role.trains) -> Iterator[tuple[str, Any, Role]]:
    """(dotted path, value, role) of every value of the node and of those below it."""
    idle = node.idle()
    for field in dataclasses.fields(node):  # type: ignore[arg-type]
        value, here = getattr(node, field.name), join(path, field.name)
        role = Role.neutral if field.name in idle else _role(field, value, here)
        if above in (Role.beside, Role.errand) or role is Role.trains:
            role = above
        if isinstance(value, Node):
            yield from _leaves(value, here, role)
        else:
            yield here, _plain(value, field.type), role


def _contents(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """(dotted path, what lies where the value says) of every key that names data."""
    for field in dataclasses.fields(node):  # type: ignore[arg-type]
        value, here = getattr(node, field.name), join(path, field.name)
        if isinstance(value, Node):
            yield from _contents(value, here)
        elif field.metadata.get("data") and isinstance(value, str):
            yield here, content(value)


def _role(field: dataclasses.Field[Any], value: object, path: str) -> Role:
    if path in ERRAND:
        return Role.errand
    if not field.metadata.get("trains", True):
        return Role.beside
    return Role.neutral if is_neutral(field, value) else Role.trains


def _plain(value: Any, declared: Any) -> Any:
    """As JSON and YAML can hold it; 40960 and 40960.0 train the same."""
    if isinstance(value, Enum):
        return value.name
    is_float = declared is float or float in get_args(declared)
    is_number = is_float and isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) + 0.0 if is_number else value  # -0.0 trains as 0.0 does

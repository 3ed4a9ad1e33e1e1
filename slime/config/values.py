"""Whether a value from the command line fits its key.

Stricter than OmegaConf, which reads a quoted "40960" as a number and true as the text 'True'.
"""

import sys
import types
from dataclasses import Field
from enum import Enum
from typing import Any, Union, get_args, get_origin

from hydra.core.override_parser.types import QuotedString

from slime.config.names import did_you_mean

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
_NOTHING = object()
_SWITCHES = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def wrong_value(path: str, field: Field[Any], value: object) -> str | None:
    """What is wrong with `value`, as Hydra's override grammar parsed it; None if it fits."""
    wanted, optional = without_none(field.type)
    if _refers_to_another_key(value) or (value is None and optional):
        return None
    if isinstance(value, QuotedString) and wanted in (int, float, bool):
        return (
            f"{path} must be {WORDS[wanted]}, got the quoted text {value.text!r}: drop the quotes"
        )
    text = value.text if isinstance(value, QuotedString) else value
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        names = [member.name for member in wanted]
        if text in names:
            return None
        return (
            f"{path} must be one of its choices, got {_shown(text)}{did_you_mean(str(text), names)}"
        )
    if get_origin(wanted) is list:
        items = [_unquoted(item) for item in text] if isinstance(text, list) else []
        wrong = next((item for item in items if not _fits(item, str)), _NOTHING)
        if isinstance(text, list) and wrong is _NOTHING:
            return None
        got = _shown(text) if wrong is _NOTHING else f"a list that holds {_shown(wrong)}"
        return f"{path} must be a list of texts, e.g. {path}=[a,b], got {got}"
    if _fits(text, wanted):
        return None
    kind = WORDS[wanted] + (" or null" if optional else "")
    return f"{path} must be {kind}, got {_shown(text)}{_meant(text, wanted)}"


def takes_text(annotation: Any) -> bool:
    """Whether a key of this type holds a text."""
    return without_none(annotation)[0] is str


def without_none(annotation: Any) -> tuple[Any, bool]:
    """(the type itself, whether null is allowed)"""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    (wanted,) = (arg for arg in get_args(annotation) if arg is not type(None))
    return wanted, True


def _refers_to_another_key(value: object) -> bool:
    """An interpolation has no value yet; building the config checks what it resolves to."""
    return isinstance(value, str) and "${" in value


def _unquoted(value: object) -> object:
    return value.text if isinstance(value, QuotedString) else value


def _fits(value: object, wanted: type) -> bool:
    if wanted is bool or isinstance(value, bool):
        return wanted is bool and isinstance(value, bool)
    if wanted is float:
        return isinstance(value, float) or (
            isinstance(value, int) and abs(value) <= sys.float_info.max
        )
    if wanted is str:
        return isinstance(value, str | int | float)
    return isinstance(value, wanted)


def _meant(value: object, wanted: type) -> str:
    """The end of a sentence, where it is plain what was meant."""
    if wanted is int and isinstance(value, float) and value.is_integer():
        return f": write {int(value)}"
    if wanted is bool and str(value).lower() in _SWITCHES:
        return f": write {_SWITCHES[str(value).lower()]}"
    return ""


def _shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case str():
            return repr(value)
        case int() | float():
            text = str(value)
            return text if len(text) <= 24 else f"{text[:24]}..."
        case _:
            return str(value)

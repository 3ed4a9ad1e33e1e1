"""Sentences about what is not even an override: outside Hydra's grammar, or no key=value at all."""

import re
from collections.abc import Callable

from slime.config.groups import BY_NAME, RECIPE
from slime.config.keys import every_key, join
from slime.config.names import meant_by
from slime.config.schema import Command
from slime.config.spelling import closest

_TYPEWRITTEN = str.maketrans(
    {"\u2013": "-", "\u2014": "-", "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'",
     "\u00a0": None}
)  # fmt: skip
_PAIRS = {"[": "]", "{": "}", "(": ")"}


def unreadable(text: str, error: Exception) -> str:
    """What is wrong with an override that Hydra cannot read, and what to write.

    error: how Hydra says it.
    """
    key, equals, value = text.partition("=")
    if not equals and not text.startswith("~"):
        return f"cannot read {text!r}: {_no_equals(text)}"
    for advice in _ADVICE:
        if said := advice(key, value):
            return f"cannot read {text!r}: {said}"
    reason = str(error).splitlines()[0].partition(" expecting ")[0]
    return f"cannot read {text!r}: {reason}; {_quoted(key, value)}"


def _no_equals(text: str) -> str:
    """A bare word: a key, a group or a choice whose other half is missing."""
    key, colon, value = text.partition(":")
    if colon and key and value:
        return f"write {key}={value}"
    dotted = text.replace("/", ".").strip(".")
    if text in Command.__members__:
        return f"write command={text}"
    if text in BY_NAME:
        return f"write {text}={'|'.join(BY_NAME[text].options)}"
    if text.startswith(f"{RECIPE}/") or text.endswith(".yaml"):
        name = text.partition(f"{RECIPE}s/")[2] or text.removeprefix(f"{RECIPE}/")
        return f"write {RECIPE}={name.removesuffix('.yaml')}"
    if text == "help":
        return "write --help"
    if any(join(*place) == dotted for place in every_key()):
        return f"write {dotted}=<value>"
    choosing = [group for group in BY_NAME.values() if closest(text, group.options, cutoff=0.8)]
    if choosing:
        return f"write {choosing[0].name}={closest(text, choosing[0].options)}"
    meant = meant_by(dotted)
    if meant in BY_NAME:
        return f"write {meant}={'|'.join(BY_NAME[meant].options)}"
    hint = f", e.g. {meant}=<value>" if meant else ""
    return f"write key=value{hint} (--help lists what there is)"


def _line_end(key: str, value: str) -> str | None:
    if "\r" in key + value or "\n" in key:
        return "it holds a line end; a script with Windows line ends needs dos2unix"
    return None


def _typographic(key: str, value: str) -> str | None:
    """What a word processor or a web page makes of quotes, dashes and spaces."""
    plain = f"{key}={value}".translate(_TYPEWRITTEN)
    if plain == f"{key}={value}":
        return None
    return f"it holds typographic characters; write {plain.lstrip('-')}"


def _key(key: str, value: str) -> str | None:
    if not key.strip():
        return "there is no key before the '='; write key=value without spaces around the '='"
    plain = re.sub("/+", "/", key).strip("/").rstrip("+").rstrip(":")
    if plain == key:
        return None
    whole = "; a list is written whole" if key.endswith("+") else ""
    return f"write {plain}={value}{whole}"


def _too_many_equals(key: str, value: str) -> str | None:
    if not value.startswith("="):
        return None
    return f"write {key}={value.lstrip('=')}, with one '='"


def _comma(key: str, value: str) -> str | None:
    inner = value.strip(",")
    if inner == value or not inner:
        return None
    return f"a value is missing beside a comma; write {key}={inner}"


def _never_closed(_: str, value: str) -> str | None:
    """The first bracket or quote without its other half."""
    if re.search(r"\$\{[^{}]*$", value):
        return "'${' is never closed; write ${key} for the value of another key"
    if "${}" in value:
        return "'${}' names no key; write ${key} for the value of another key"
    for quote in "'\"":
        if value.count(quote) == 1:
            return f"the quote {quote} is never closed"
    for left, right in _PAIRS.items():
        if value.count(left) != value.count(right) and value.startswith(left):
            return f"{left!r} is never closed" if value.count(left) > value.count(right) else None
    return None


def _spaces(key: str, value: str) -> str | None:
    if key == key.strip() and value == value.strip():
        return None
    return f"write {key.strip()}={value.strip()}, without spaces around the '='"


def _no_key_at_all(key: str, _: str) -> str | None:
    """What no key can look like, whatever its value."""
    plain = key.lstrip("+~")
    if re.fullmatch(r"[A-Za-z_][\w/]*([.@:][\w/]+)*", plain, re.ASCII):
        return None
    guess = meant_by(re.sub(r"[^\w.]+", ".", plain).strip("."))
    return f"{key!r} is no key" + (f"; did you mean {guess}?" if guess else "; see --help")


def _sweep(_: str, value: str) -> str | None:
    called = re.match(r"(choice|range|interval|shuffle|sort|glob|tag)\(", value)
    if called is None:
        return None
    return f"{_SWEEPS[called[1]]} is how {called[1]} is written, closed by its bracket"


_SWEEPS = {
    "choice": "choice(a,b)",
    "range": "range(0,10) or range(0,10,2)",
    "interval": "interval(0.1,1)",
    "shuffle": "shuffle(a,b)",
    "sort": "sort(a,b)",
    "glob": "glob(a*)",
    "tag": "tag(log,interval(1e-6,1e-4))",
}

_ADVICE: tuple[Callable[[str, str], str | None], ...] = (
    _line_end,
    _typographic,
    _key,
    _spaces,
    _no_key_at_all,
    _sweep,
    _too_many_equals,
    _comma,
    _never_closed,
)


def _quoted(key: str, value: str) -> str:
    """How to write a value with special characters: quotes for the shell, and quotes for Hydra."""
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    if "'" in inner:
        return f"quote the value for the shell and for Hydra, e.g. '{key}=\"a (b)\"'"
    return f"write '{key}=\"{inner}\"'"

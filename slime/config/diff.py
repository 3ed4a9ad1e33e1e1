"""command=diff: the keys in which two configs differ, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from slime.config.fingerprint import Role, Values, fingerprint, values_of
from slime.config.keys import group_that_writes, is_label
from slime.config.schema import Config

ABSENT, NEUTRAL = "-", " (neutral)"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its title and what it composes to."""

    title: str
    config: Config


def difference(one: Side, other: Side) -> str:
    """The whole answer: a sentence, and a table of the keys that differ if there are any."""
    sides = (one, other)
    marks = [fingerprint(side.config) for side in sides]
    trained = _table(sides, Role.trains, ["fingerprint", *marks])
    beside = _table(sides, Role.beside)
    parts = [trained or f"no difference: both train the same (fingerprint {marks[0]})"]
    parts += _notes(trained)
    if beside:
        parts += ["Keys that differ and cannot change training:", beside]
    return "\n\n".join(parts)


def _table(sides: Sequence[Side], role: Role, *head: Sequence[str]) -> str:
    """The keys whose values of this role differ; empty if there are none."""
    values = [values_of(side.config, role) for side in sides]
    neutral = [values_of(side.config, Role.neutral) for side in sides]
    order = (key for side in sides for key in values_of(side.config, *Role))
    rows = [
        [_name(key), *(_cell(key, v, n) for v, n in zip(values, neutral, strict=True))]
        for key in dict.fromkeys(order)
        if values[0].get(key) != values[1].get(key) and not _held_by_both(key, values, neutral)
    ]
    return table([["", *(side.title for side in sides)], *head, *rows]) if rows else ""


def _held_by_both(key: str, values: Sequence[Values], neutral: Sequence[Values]) -> bool:
    """Whether one side only leaves the value of the other without effect."""
    one, other = ({**v, **n}.get(key) for v, n in zip(values, neutral, strict=True))
    return one == other is not None


def _cell(key: str, values: Values, neutral: Values) -> str:
    if key in values:
        return _shown(values[key])
    return _shown(neutral[key]) + NEUTRAL if key in neutral else ABSENT


def _name(key: str) -> str:
    return group_that_writes(key).name if is_label(key) else key


def changed_values(before: Values, now: Values) -> Iterator[str]:
    """`key old -> new` for each key that differs; a side without the key has `-`."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key, ABSENT), now.get(key, ABSENT)
        if old != new:
            yield f"{key} {_shown(old)} -> {_shown(new)}"


def _notes(shown: str) -> Iterator[str]:
    if any(cell == ABSENT for line in shown.splitlines() for cell in line.split("  ")):
        yield f"{ABSENT} : this side has made a choice without such a key"
    if NEUTRAL in shown:
        yield f"{NEUTRAL.strip()} : trains as if there were no such key"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return value if value.isprintable() and value else repr(value)
        case _:
            return str(value)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces between them."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

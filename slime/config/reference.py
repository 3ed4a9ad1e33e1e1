"""docs/config.md: every group, choice and key, from the schemas and the table of groups.

python -m slime.config.reference
"""

import dataclasses
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from slime.config.fingerprint import ERRAND
from slime.config.groups import BY_NODE, GROUPS, RECIPE, Group
from slime.config.help import default_choices
from slime.config.keys import every_field, join
from slime.config.schema import Config, Node
from slime.config.schema.base import MISSING, NO_NEUTRAL, default_value
from slime.config.values import WORDS, without_none

ROOT = Path(__file__).parents[2]
CONF, PAGE = ROOT / "conf", ROOT / "docs" / "config.md"
COMMAND = "python -m slime.config.reference"

_INTRODUCTION = f"""\
    # Every group and every key

    Written by `{COMMAND}` from `slime/config/schema`; a test fails while it is out of date.

    `python launch.py group=choice` selects the class of a node, and with it the keys that are
    legal there; `python launch.py node.key=value` sets a key. What you name overrides the recipe,
    and the recipe overrides these defaults. **bold** is the choice that is made without you.
    *required* has no default. *Fingerprint* says whether a value is part of what a run's
    fingerprint covers: *yes*, *no* (it cannot change training), or *unless* it is the value under
    which training is what it was before the key existed.
    """
_RECIPES = (
    "A published composition, which overrides the defaults above; `python launch.py "
    "command=recipes` lists them."
)
_HEAD = (
    "| key | type | default | unit | meaning | since | fingerprint |",
    "|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a table of keys, but for the choices that have it."""

    key: str
    type: str
    default: str
    unit: str
    meaning: str
    since: str
    fingerprint: str


def page(conf: Path = CONF) -> str:
    """The whole text.  conf: the folder of the config groups."""
    lines = textwrap.dedent(_INTRODUCTION).splitlines()
    lines += ["", "## The run", "", *_lines((row, "") for row in _rows("", Config, {}))]
    for node, schema in _nodes_without_a_group():
        rows = _rows(node, schema, {})
        lines += ["", f"## `{node}`", "", _first_line(schema), "", *_lines((r, "") for r in rows)]
    defaults = default_choices(conf)
    for group in GROUPS:
        lines += ["", *_section(group, defaults[group.name], conf)]
    lines += ["", f"## `{RECIPE}`", "", _RECIPES]
    return "\n".join(lines) + "\n"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


def _nodes_without_a_group() -> Iterator[tuple[str, type[Node]]]:
    seen = dict.fromkeys((node, schema) for node, schema, _ in every_field())
    yield from ((node, schema) for node, schema in seen if node and node not in BY_NODE)


def _section(group: Group, default: str | None, conf: Path) -> Iterator[str]:
    yield f"## `{group.name}`"
    yield ""
    yield f"{group.meaning[0].upper()}{group.meaning[1:]}. Its keys are below `{group.node}`."
    yield ""
    yield from ("| choice | |", "|---|---|")
    for choice in group.choices:
        name = f"`{choice.name}`"
        yield f"| {f'**{name}**' if choice.name == default else name} | {_cell(choice.meaning)} |"
    if table := _lines(_shared_rows(group, conf)):
        yield ""
        yield from table


def _shared_rows(group: Group, conf: Path) -> Iterator[tuple[_Row, str]]:
    """Every key once, with the choices that have it where that is not all of them."""
    having: dict[_Row, list[str]] = {}
    for choice in group.choices:
        written = _written(conf / group.name / f"{choice.name}.yaml")
        for row in _rows(group.node, choice.schema, written):
            having.setdefault(row, []).append(choice.name)
    for row, choices in having.items():
        yield row, "" if choices == group.options else f"<br>({', '.join(choices)})"


def _lines(rows: Iterable[tuple[_Row, str]]) -> list[str]:
    """The table of these keys; nothing at all for none."""
    body = [
        f"| `{row.key}`{choices} | {row.type} | {row.default} | {row.unit} | {row.meaning} | "
        f"{row.since} | {row.fingerprint} |"
        for row, choices in rows
    ]
    return [*_HEAD, *body] if body else []


def _rows(node: str, schema: type[Node], written: Mapping[str, Any]) -> Iterator[_Row]:
    """written: the values that a choice's file sets beside those of its class"""
    for where, cls, field in every_field():
        if (where, cls) != (node, schema):
            continue
        path = join(node, field.name)
        yield _Row(
            key=path,
            type=_type(field.type),
            default=_default(written.get(field.name, default_value(field))),
            unit=field.metadata["unit"],
            meaning=_cell(field.metadata["meaning"]),
            since=field.metadata["since"],
            fingerprint=_fingerprint(path, field),
        )


def _written(file: Path) -> dict[str, Any]:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {key: value for key, value in values.items() if key != "defaults"}


def _type(annotation: Any) -> str:
    wanted, optional = without_none(annotation)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        text = " \\| ".join(f"`{member.name}`" for member in wanted)
    else:
        text = WORDS.get(wanted, "a list of texts")
    return f"{text} or null" if optional else text


def _default(value: Any) -> str:
    match value:
        case str() if value == MISSING:
            return "*required*"
        case None | bool():
            return f"`{str(value).lower().replace('none', 'null')}`"
        case Enum():
            return f"`{value.name}`"
        case list():
            return f"`[{','.join(json.dumps(item) for item in value)}]`"
        case str() if "\n" in value:
            return f"`{json.dumps(value)}`"
    return f"`{value}`"


def _fingerprint(path: str, field: dataclasses.Field[Any]) -> str:
    """Whether a change of the key changes what a run's fingerprint covers."""
    root = path.partition(".")[0]
    [top] = [f for f in dataclasses.fields(Config) if f.name == root]
    trains = all(f.metadata.get("trains", True) for f in (top, field))
    if root in ERRAND or not trains:
        return "no"
    neutral = field.metadata.get("neutral", NO_NEUTRAL)
    return "yes" if neutral is NO_NEUTRAL else f"unless {_default(neutral)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _first_line(schema: type[Node]) -> str:
    return (schema.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    main()

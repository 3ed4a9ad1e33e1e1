"""Files from elsewhere: whatever is in them, the reader ends soon and with one sentence."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import yaml

_MOST_JSON_BYTES = 64 << 20  # the index of the largest models' weights has less than a tenth
_LONG = re.compile(r"[-+]?[0-9][0-9a-fA-FxXob_:.]{99,}").fullmatch  # 1:30:00 is a number too
_MOST_YAML_BYTES, _DEEPEST_YAML = 1 << 20, 50
_LONGEST_LINE = 2000  # characters
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it is there


def read_json(file: Path) -> Any:
    """What the file holds.

    Raises OSError, or ValueError for what is no JSON in UTF-8, too deep, or larger than any such
    file is.
    """
    _refuse_more_than(_MOST_JSON_BYTES, file)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None


def read_yaml_text(file: Path) -> str:
    """The text of a YAML file whose tree is no larger than the text.

    With aliases a short text stands for a huge tree.
    Raises OSError, yaml.YAMLError, or ValueError for what has aliases, is too deep or too large.
    """
    _refuse_more_than(_MOST_YAML_BYTES, file)
    text = file.read_text(encoding="utf-8")
    depth = 0
    for event in yaml.parse(text, _LOADER):
        where = f"line {event.start_mark.line + 1}:" if event.start_mark else ""
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{where} *{event.anchor} is a YAML alias; write the value out")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _LONG(event.value):
            raise ValueError(f"{where} a number of {len(event.value)} characters")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_YAML:
            raise ValueError(f"{where} nested more than {_DEEPEST_YAML} deep")
    return text


def in_one_line(text: str) -> str:
    """As a terminal can show it: what would move its cursor is escaped, what is too long is cut."""
    cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}... ({len(text)} in all)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _refuse_more_than(most: int, file: Path) -> None:
    facts = file.stat()
    if not stat.S_ISREG(facts.st_mode):  # a pipe would be waited for
        raise ValueError("it is not a file")
    if facts.st_size > most:
        raise ValueError(f"{facts.st_size} bytes are more than {most}")

"""Files from elsewhere: whatever is in them, the reader ends soon and with one sentence."""

import json
from pathlib import Path
from typing import Any

import yaml

_MOST_JSON_BYTES = 64 << 20  # the index of the largest models' weights has less than a tenth
_MOST_YAML_BYTES, _DEEPEST_YAML = 1 << 20, 50
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
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_YAML:
            raise ValueError(f"{where} nested more than {_DEEPEST_YAML} deep")
    return text


def _refuse_more_than(most: int, file: Path) -> None:
    size = file.stat().st_size
    if size > most:
        raise ValueError(f"{size} bytes are more than {most}")

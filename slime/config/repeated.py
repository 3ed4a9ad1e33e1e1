"""One key given twice with different values: Hydra keeps the last and says nothing.

In a sweep it even drops a whole dimension that way (Hydra issues 3106 and 3283).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString

from slime.config.keys import join


def repeated(overrides: Sequence[Override]) -> Iterator[str]:
    """A sentence for each key, and each group, that is set to two different things."""
    given: dict[str, dict[str, str]] = {}  # key -> value -> the override that holds it
    for override in overrides:
        if override.is_delete():
            continue
        for path, value in _leaves(override.key_or_group, override._value):
            given.setdefault(path, {}).setdefault(value, str(override.input_line))
    for path, texts in given.items():
        if len(texts) > 1:
            last = list(texts.values())[-1]
            yield f"{path} is set twice, by {' and by '.join(texts.values())}: write only {last}"


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """(dotted key, value as text) for what an override sets; a mapping sets several."""
    if not isinstance(value, dict):
        yield path, value.text if isinstance(value, QuotedString) else str(value)
        return
    for key, inner in value.items():
        name = key.text if isinstance(key, QuotedString) else str(key)
        yield from _leaves(join(path, name), inner)

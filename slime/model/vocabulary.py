"""Whether the model has a row for every token of its tokenizer.

Standard library only, so that it is known before a run starts.  A tokenizer may still make tokens
when it is loaded, which `slime.start` looks at.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slime.config.schema import ConfigError
from slime.reading import read_json


def refuse_tokens_without_a_row(folder: Path, largest: int | None, vocabulary_size: int) -> None:
    """Raises ConfigError when the largest token has no row in embeddings of that many."""
    if largest is not None and largest >= vocabulary_size:
        raise ConfigError(
            f"model.path: {folder}: the tokenizer has tokens up to {largest}, and config.json "
            f"vocab_size={vocabulary_size} has none above {vocabulary_size - 1}: take the "
            f"tokenizer of this model, or save it with resize_token_embeddings({largest + 1})"
        )


def largest_token(folder: Path) -> int | None:
    """The largest token id that tokenizer.json names; None when it names none or cannot be read."""
    try:
        values = read_json(folder / "tokenizer.json")
    except (OSError, ValueError):
        return None  # load_tokenizer tells
    if not isinstance(values, dict):
        return None
    ids = (one for one in _ids(values) if type(one) is int)
    return max(ids, default=None)


def _ids(values: dict[str, Any]) -> Iterator[object]:
    model, added = values.get("model"), values.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from vocabulary.values()
    elif isinstance(vocabulary, list) and vocabulary:
        yield len(vocabulary) - 1
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict):
            yield token.get("id")

"""Which of the known names a misspelt one was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The nearest name, whatever its case and its dashes; None if none is near.

    cutoff: how alike they must be, from 0 (nothing in common) to 1 (the same).
    """
    names = {_plain(name): name for name in known}
    near = get_close_matches(_plain(word), names, n=1, cutoff=cutoff)
    return names[near[0]] if near else None


def _plain(word: str) -> str:
    """For comparing: a file stands for what it holds, and null for none."""
    name = word.lower().replace("-", "_").removesuffix(".yaml").removeprefix("recipes/")
    return "none" if name == "null" else name

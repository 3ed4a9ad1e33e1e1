"""Sentences about names nobody knows: what was probably meant, and what exists."""

from collections.abc import Iterable
from difflib import get_close_matches

from slime.config.groups import (
    BY_NAME,
    BY_NODE,
    GROUPS,
    RECIPE,
    every_key,
    field_names,
    is_label,
    join,
)
from slime.config.schema import Node


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest of `known`, if one is near, and all of them."""
    known = sorted(known)
    near = get_close_matches(word, known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{guess} (valid: {', '.join(known)})" if known else guess


def unknown_key(path: str, tree: dict[str, type[Node]]) -> str:
    """Why the dotted `path` is not a key of this composition.

    tree: the class of every node of the composition by its dotted path; the root is "".
    """
    node, _, key = path.rpartition(".")
    group = BY_NODE.get(node)
    if group and node in tree and (owners := group.owners(key)):
        here = _choice_of(node, tree)
        return f"{path!r} is not used by {group.name}={here}; it belongs to {'|'.join(owners)}"
    while node not in tree:
        node = node.rpartition(".")[0]
    paths = {name: join(node, name) for name in field_names(tree[node])}
    valid = [name for name, p in paths.items() if p != RECIPE and not is_label(p)]
    where = f" of {node}" if node else ""
    listed = f" (valid keys{where}: {', '.join(sorted(valid))})" if valid else ""
    return f"unknown key {path!r}{_guess(path)}{listed}"


def unknown_group(name: str) -> str:
    return f"unknown group {name!r}{did_you_mean(name, [*BY_NAME, RECIPE])}"


def unknown_choice(group: str, choice: str, options: Iterable[str]) -> str:
    """Also for a node that is no group itself but has groups below, as `loss` does."""
    below = [g.name for g in GROUPS if g.name.startswith(f"{group}/") and choice in g.options]
    if below:
        return f"unknown {group} {choice!r}; did you mean {below[0]}={choice}?"
    return f"unknown {group} {choice!r}{did_you_mean(choice, options)}"


def _choice_of(node: str, tree: dict[str, type[Node]]) -> str:
    """The choice whose class stands at `node`; the first where several share the class."""
    return next(c.name for c in BY_NODE[node].choices if c.schema is tree[node])


def _guess(path: str) -> str:
    """The key that was probably meant: a neighbour spelt nearly so, or the same name elsewhere."""
    node, _, last = path.rpartition(".")
    places = {join(*place): place for place in every_key()}
    neighbours = {key: p for p, (where, key) in places.items() if where == node}
    meant = [
        *(neighbours[near] for near in get_close_matches(last, neighbours, n=1)),
        *(p for key, p in neighbours.items() if key.startswith(last)),
        *(p for p, (_, key) in places.items() if key == last),
        *(name for name in BY_NAME if name.rpartition("/")[2] == last),
        *get_close_matches(path, places, n=1, cutoff=0.8),
        *(p for p, (_, key) in places.items() if get_close_matches(last, [key], cutoff=0.8)),
    ]
    if not meant:
        return ""
    here, key = places.get(meant[0], ("", ""))
    group = BY_NODE.get(here)
    if group is None or group.owners(key) == group.options:
        return f"; did you mean {meant[0]!r}?"
    return f"; did you mean {meant[0]!r} (of {group.name}={'|'.join(group.owners(key))})?"

"""Sentences about names nobody knows: what was probably meant, and what exists."""

from collections.abc import Iterable, Iterator

from slime.config.familiar import familiar, familiar_choice
from slime.config.groups import BY_NAME, BY_NODE, GROUPS, RECIPE, field_names
from slime.config.keys import every_key, is_label, join
from slime.config.renamed import renamed_key
from slime.config.schema import Node
from slime.config.spelling import closest


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest of `known`, if one is near, and all of them."""
    known = sorted(known)
    near = closest(word, known)
    guess = f"; did you mean {near!r}?" if near else ""
    return f"{guess} (valid: {', '.join(known)})" if known else guess


def unknown_key(path: str, tree: dict[str, type[Node]], value: str | None = None) -> str:
    """Why the dotted `path` is not a key of this composition.

    tree: the class of every node of the composition by its dotted path; the root is "".
    value: what was to stand there, as it was written, if that is known.
    """
    renamed = renamed_key(path)
    if renamed is not None:
        return renamed
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
    return f"unknown key {path!r}{_guess(path, value)}{listed}"


def unknown_group(name: str, value: str) -> str:
    listed = f" (valid: {', '.join(sorted([*BY_NAME, RECIPE]))})"
    return f"unknown group {name!r}{_guess(name.replace('/', '.'), value)}{listed}"


def unknown_choice(group: str, choice: str, options: Iterable[str]) -> str:
    """Also for a node that is no group itself but has groups below, as `loss` does."""
    below = [g.name for g in GROUPS if g.name.startswith(f"{group}/") and choice in g.options]
    if below:
        return f"unknown {group} {choice!r}; did you mean {below[0]}={choice}?"
    return f"unknown {group} {choice!r}{did_you_mean(choice, options)}"


def _choice_of(node: str, tree: dict[str, type[Node]]) -> str:
    """The choice whose class stands at `node`; the first where several share the class."""
    return next(c.name for c in BY_NODE[node].choices if c.schema is tree[node])


def _guess(path: str, value: str | None) -> str:
    """The end of a sentence: what was probably meant by this dotted path, and by its value."""
    node, _, key = path.rpartition(".")
    group = BY_NODE.get(node)
    if group is not None and key in group.options:
        return f"; did you mean {group.name}={key}?"
    meant = meant_by(path)
    if meant is None:
        return ""
    if meant in BY_NAME:
        options = BY_NAME[meant].options
        choice = (familiar_choice(value) or closest(value, options)) if value else None
        return f"; did you mean {meant}={choice or '|'.join(options)}?"
    node, _, key = meant.rpartition(".")
    group = BY_NODE.get(node)
    if group is None or group.owners(key) == group.options:
        return f"; did you mean {meant!r}?"
    return f"; did you mean {meant!r} (of {group.name}={'|'.join(group.owners(key))})?"


def meant_by(path: str) -> str | None:
    """The dotted key, or the group, that this dotted path comes nearest to."""
    return next(_meant(path), None)


def _meant(path: str) -> Iterator[str]:
    """Likeliest first: a neighbour, what others call so, the same name elsewhere."""
    node, _, last = path.rpartition(".")
    places = {join(*place): place for place in every_key()}
    dotted = {name.replace("/", "."): name for name in BY_NAME}
    neighbours = {name.rpartition(".")[2]: group for name, group in dotted.items()
                  if name.rpartition(".")[0] == node}  # fmt: skip
    neighbours |= {key: p for p, (where, key) in places.items() if where == node}
    if not node:
        neighbours[RECIPE] = RECIPE
        if last not in neighbours and (theirs := familiar(last)):
            yield theirs
    if node in places:  # a value has no keys
        yield node
    if near := closest(last, neighbours):
        yield neighbours[near]
    yield from (p for key, p in neighbours.items() if key.startswith(last))
    if theirs := familiar(last):
        yield theirs
    if same := closest(path, [p for p, (_, key) in places.items() if key == last], cutoff=0):
        yield same
    yield from (name for name in BY_NAME if name.rpartition("/")[2] == last)
    everywhere = {p: p for p in places} | dotted
    alike = [p for p in everywhere if closest(last, [p.rpartition(".")[2]])]
    if near := closest(path, alike, cutoff=0.8):
        yield everywhere[near]
    yield from (p for p in alike if closest(last, [p.rpartition(".")[2]], cutoff=0.8))

"""Every wrong value of a recipe, and of those it builds on; Hydra stops at the first."""

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf

from slime.config.assignments import leaves, problems_at
from slime.config.build import node_classes
from slime.config.compose import compose
from slime.config.explain import where_set
from slime.config.groups import RECIPE
from slime.config.recipe_file import inherited
from slime.config.schema import Node
from slime.config.store import recipe_values

_SELF = "defaults"


def wrong_values(
    loader: ConfigLoader, choices: Sequence[str]
) -> tuple[dict[str, type[Node]], list[str]]:
    """(the class of every node, a sentence for each wrong value with the file it stands in).

    choices: the overrides that choose from groups.  Raises what composing them raises.
    """
    names = [each.partition("=")[2].strip("'\"") for each in choices if _chooses_recipe(each)]
    lineage = list(_lineage(names[-1])) if names else []
    groups = {group: choice for _, values in lineage for group, choice in _chosen(values)}
    own = [each for each in choices if not _chooses_recipe(each)]
    groups = {group: choice for group, choice in groups.items() if not _has(own, group)}
    tree = node_classes(compose(loader, [*(f"{g}={c}" for g, c in groups.items()), *own]))
    return tree, [line for name, values in lineage for line in _wrong(name, values, tree)]


def _wrong(name: str, values: dict[str, Any], tree: dict[str, type[Node]]) -> Iterator[str]:
    for key, value in values.items():
        if key in (_SELF, RECIPE):
            continue
        for path, inner in leaves(key, value, tree):
            for line in problems_at(path, inner, tree):
                yield line + where_set(f"{RECIPE}/{name}", path)


def _lineage(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The recipe and all it builds on, the oldest first."""
    recipe = recipe_values(name)
    for ancestor in inherited(recipe):
        yield from _lineage(ancestor)
    values = OmegaConf.to_container(recipe, resolve=False)
    assert isinstance(values, dict)
    yield name, {str(key): value for key, value in values.items()}


def _chosen(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in values.get(_SELF, []):
        if isinstance(entry, dict):
            yield from ((key.removeprefix("override /"), choice) for key, choice in entry.items())


def _chooses_recipe(override: str) -> bool:
    return override.startswith(f"{RECIPE}=")


def _has(overrides: Sequence[str], group: str) -> bool:
    return any(override.startswith(f"{group}=") for override in overrides)

"""Every wrong value of a recipe, and of those it builds on; Hydra stops at the first."""

from collections.abc import Iterator, Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf

from slime.config.assignments import leaves, problems_at
from slime.config.build import node_classes
from slime.config.compose import compose
from slime.config.explain import where_set
from slime.config.groups import BY_NAME, RECIPE
from slime.config.recipe_file import inherited
from slime.config.replaced import Choices, choices_of, without_replaced
from slime.config.schema import Node
from slime.config.store import recipe_values

_SELF = "defaults"


def wrong_values(
    loader: ConfigLoader, choices: Sequence[str]
) -> tuple[dict[str, type[Node]], list[str]]:
    """(the class of every node, what wrong_in_recipe says) where Hydra cannot compose the recipe.

    choices: the overrides that choose from groups.  Raises what composing them raises.
    """
    groups = _final_choices(choices)
    others = [each for each in choices if _group(each) not in (*BY_NAME, RECIPE)]
    tree = node_classes(compose(loader, [*(f"{g}={c}" for g, c in groups.items()), *others]))
    return tree, wrong_in_recipe(choices, tree)


def wrong_in_recipe(choices: Sequence[str], tree: dict[str, type[Node]]) -> list[str]:
    """A sentence for each wrong value of the recipe among the choices, with the file it stands in.

    tree: the class of every node of the composition.
    """
    names = _recipes(choices)
    groups = _final_choices(choices)
    lineage = _lineage(names[-1]) if names else ()
    return [line for name in lineage for line in _wrong(name, groups, tree)]


def _final_choices(choices: Sequence[str]) -> dict[str, str]:
    names = _recipes(choices)
    own = {_group(each): _choice(each) for each in choices if _group(each) in BY_NAME}
    return (choices_of(names[-1]) if names else {}) | own


def _recipes(choices: Sequence[str]) -> list[str]:
    return [_choice(each) for each in choices if _group(each) == RECIPE]


def _group(override: str) -> str:
    return override.partition("=")[0]


def _choice(override: str) -> str:
    return override.partition("=")[2].strip("'\"")


def _wrong(name: str, choices: Choices, tree: dict[str, type[Node]]) -> Iterator[str]:
    recipe = without_replaced(recipe_values(name), choices_of(name), choices)
    values = OmegaConf.to_container(recipe, resolve=False)
    assert isinstance(values, dict)
    for key, value in values.items():
        if key in (_SELF, RECIPE):
            continue
        for path, inner in leaves(str(key), value, tree):
            for line in problems_at(path, inner, tree):
                yield line + where_set(f"{RECIPE}/{name}", path)


def _lineage(name: str) -> Iterator[str]:
    """The recipe and all it builds on, the oldest first."""
    for ancestor in inherited(recipe_values(name)):
        yield from _lineage(ancestor)
    yield name

"""A choice takes its keys along: what a recipe set for the choice that another one replaces is out.

Group defaults < recipe < command line holds for choices too.  rloo/v1 has loss/aggregation=constant
and loss.divisor=1; under loss/aggregation=dr_grpo that divisor would be a number nobody chose.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from slime.config.groups import BY_NAME, BY_NODE, RECIPE, Group
from slime.config.keys import is_node, join
from slime.config.recipe_file import inherited
from slime.config.store import choice_values, default_choices, recipe_values

Choices = Mapping[str, str]  # group -> choice


def choices_of(name: str) -> dict[str, str]:
    """What the recipe chooses: itself, by what it builds on, or by leaving it at the default."""
    return default_choices() | _own_choices(name)


def without_replaced(values: DictConfig, wrote_under: Choices, now: Choices) -> DictConfig:
    """A recipe's values without the keys of choices that others have taken the place of.

    wrote_under: the choices that the recipe's author saw; now: those of the whole composition.
    A key stays where it means the same under both choices: both have it, with one default.
    """
    if all(now.get(group, choice) == choice for group, choice in wrote_under.items()):
        return values
    plain = OmegaConf.to_container(values, resolve=False)
    assert isinstance(plain, dict)
    return OmegaConf.create(_kept(plain, "", wrote_under, now))


def _own_choices(name: str) -> dict[str, str]:
    recipe = recipe_values(name)
    choices: dict[str, str] = {}
    for ancestor in inherited(recipe):
        choices |= _own_choices(ancestor)
    for entry in recipe.get("defaults", []):
        if isinstance(entry, DictConfig):
            choices |= {str(k).removeprefix("override /"): str(v) for k, v in entry.items()}
    return choices


def _kept(values: dict[Any, Any], path: str, before: Choices, now: Choices) -> dict[Any, Any]:
    group, kept = BY_NODE.get(path), {}
    for key, value in values.items():
        here = join(path, str(key))
        if is_node(here) and isinstance(value, dict):
            kept[key] = _kept(value, here, before, now)
        elif group is None or not _is_replaced(group, str(key), before, now):
            kept[key] = value
    return kept


def _is_replaced(group: Group, key: str, before: Choices, now: Choices) -> bool:
    old, new = before[group.name], now.get(group.name, before[group.name])
    if old == new:
        return False
    mine, other = (choice_values(group.name, choice) for choice in (old, new))
    return key in mine and (key not in other or mine[key] != other[key])


def choices_among(configs: list[str]) -> dict[str, str]:
    """Group -> choice, of the configs that a composition is made of, by their paths."""
    parts = [path.rpartition("/") for path in configs]
    return {group: choice for group, _, choice in parts if group in BY_NAME}


def recipe_among(path: str) -> str | None:
    """The recipe's name, if this is the path of one."""
    return path.removeprefix(f"{RECIPE}/") if path.startswith(f"{RECIPE}/") else None

"""Puts the schemas and the recipes where Hydra finds them, whatever the current directory is."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from slime.config.groups import BY_NAME, BY_NODE, GROUPS, RECIPE, Group, field_names
from slime.config.keys import join
from slime.config.recipes import Recipe, Recipes, find_recipes
from slime.config.schema import Config, Node

ROOT_CONFIG = "config"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it is there


def register(shipped: Path, *own: Path) -> None:
    """Make every class of slime.config.schema and the recipes of these folders composable.

    shipped: the folder of slime's recipes; own: folders of the user's.
    A recipe is read when it is selected, and what is wrong with it is told then.
    """
    _put(_LazyNode("schema", partial(OmegaConf.structured, Config)))
    for group in GROUPS:
        for choice in group.choices:
            made = partial(_without_other_groups, group, choice.schema)
            _put(_LazyNode(f"schema/{group.name}/{choice.name}", made))
    ConfigStore.instance().repo[RECIPE] = {}
    recipes = find_recipes(shipped, own)
    for recipe in recipes.by_name.values():
        _put(_RecipeNode(recipe, recipes))


def register_conf(conf: Path) -> None:
    """Make what is in the folder `conf` composable: the root config, every choice of every group.

    A choice is one node, its class with the values of its file.  The file says the same in Hydra's
    own words, `/schema/...@_here_`, but read so it makes two nodes of every choice, and composing
    takes half as long again.
    """
    _put(_LazyNode(ROOT_CONFIG, partial(_read_config, conf / f"{ROOT_CONFIG}.yaml")))
    for group in GROUPS:
        for choice in group.choices:
            path = f"{group.name}/{choice.name}"
            make = partial(_with_values, group, choice.schema, conf / f"{path}.yaml")
            _put(_LazyNode(path, make, package=group.node))


def register_values(name: str, values: DictConfig, file: Path) -> None:
    """Make `recipe=name` mean these values, which come from this file."""
    recipe = Recipe(name, (file,), own=True)
    _put(_RecipeNode(recipe, Recipes({name: recipe}, {name: values})))


class _LazyNode(ConfigNode):
    """What Hydra's store holds, made when Hydra first opens it: one run needs few of them.

    Hydra copies a node, then gives the copy a node of its own, hence the setter.
    """

    def __init__(
        self, path: str, make: Callable[[], DictConfig], package: str | None = None
    ) -> None:
        group, _, leaf = path.rpartition("/")
        self._make = make
        self._made: DictConfig | None = None
        self.name, self.group = f"{leaf}.yaml", group or None
        self.package, self.provider = package, None

    @property
    def node(self) -> DictConfig:
        if self._made is None:
            self._made = self._make()
        return self._made

    @node.setter
    def node(self, made: DictConfig) -> None:
        self._made = made


class _RecipeNode(_LazyNode):
    """Jobs of a sweep that run in other processes get what was read here."""

    def __init__(self, recipe: Recipe, recipes: Recipes) -> None:
        read = partial(recipes.read, recipe.name)
        super().__init__(f"{RECIPE}/{recipe.name}", read, package="_global_")
        self.recipe = recipe
        self.provider = "recipes"


def _put(node: _LazyNode) -> None:
    place = ConfigStore.instance().repo
    for name in (node.group or "").split("/"):
        place = place.setdefault(name, {}) if name else place
    place[node.name] = node


def _with_values(group: Group, schema: type[Node], file: Path) -> DictConfig:
    node = _without_other_groups(group, schema)
    for name, value in _read(file).items():
        if name != "defaults":
            node[name] = value
    return node


def _read_config(file: Path) -> DictConfig:
    return DictConfig(_read(file))


def _read(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
    return values


def _without_other_groups(group: Group, schema: type[Node]) -> DictConfig:
    """The class as a config, what other groups fill left missing.

    Where the class has a default there, OmegaConf would let only its subclasses take its place.
    """
    node: DictConfig = OmegaConf.structured(schema)
    for name in field_names(schema):
        if join(group.node, name) in BY_NODE:
            node[name] = MISSING
    return node


def registered_recipes() -> list[str]:
    """The names that `recipe=` accepts."""
    return [recipe.name for recipe in found_recipes()]


def found_recipes() -> list[Recipe]:
    """The recipes that `recipe=` accepts, by name."""
    return sorted(_leaves(ConfigStore.instance().repo.get(RECIPE, {})), key=lambda r: r.name)


def recipe_values(name: str) -> DictConfig:
    """What the recipe says.  Raises ConfigError for one that cannot be read."""
    node = ConfigStore.instance().load(f"{RECIPE}/{name}.yaml").node
    assert isinstance(node, DictConfig)
    return node


def default_choices() -> dict[str, str]:
    """Group -> the choice of the root config."""
    entries = ConfigStore.instance().load(f"{ROOT_CONFIG}.yaml").node["defaults"]
    pairs = (pair for entry in entries if isinstance(entry, DictConfig) for pair in entry.items())
    return {str(group): str(choice) for group, choice in pairs if group in BY_NAME}


def choice_values(group: str, choice: str) -> dict[str, Any]:
    """What the choice gives to every key of its node, nothing resolved."""
    node = ConfigStore.instance().load(f"{group}/{choice}.yaml").node
    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def own_file(name: str) -> Path | None:
    """The file of a recipe of the user's; None for all others."""
    return next((r.file for r in found_recipes() if r.name == name and r.own), None)


def _leaves(folder: dict[str, object]) -> Iterator[Recipe]:
    for entry in folder.values():
        if isinstance(entry, dict):
            yield from _leaves(entry)
        elif isinstance(entry, _RecipeNode):
            yield entry.recipe

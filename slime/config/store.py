"""Puts the schemas and the recipes where Hydra finds them, whatever the current directory is."""

from pathlib import Path

from hydra.core.config_store import ConfigStore

from slime.config.groups import GROUPS, RECIPE
from slime.config.recipes import read_recipe, recipe_names
from slime.config.schema import Config


def register(recipes: Path) -> None:
    """Make every class of slime.config.schema and every file under `recipes` composable.

    Raises ConfigError for a recipe that cannot be read or sets what a recipe may not.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group in GROUPS:
        for choice in group.choices:
            store.store(group=f"schema/{group.name}", name=choice.name, node=choice.schema)
    for name in recipe_names(recipes):
        folder, _, leaf = f"{RECIPE}/{name}".rpartition("/")
        recipe = read_recipe(recipes, name)
        store.store(group=folder, name=leaf, node=recipe, package="_global_", provider="recipes")


def registered_recipes() -> list[str]:
    """The names that `recipe=` accepts."""
    return sorted(_leaves(ConfigStore.instance().repo.get(RECIPE, {})))


def _leaves(folder: dict[str, object], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, entry in folder.items():
        if isinstance(entry, dict):
            names += _leaves(entry, f"{prefix}{name}/")
        else:
            names.append(prefix + name.removesuffix(".yaml"))
    return names

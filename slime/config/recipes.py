"""Published compositions: recipes/NAME/vN.yaml."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slime.config.groups import BY_NAME, RECIPE
from slime.config.names import did_you_mean, unknown_choice
from slime.config.schema import ConfigError


def recipe_names(recipes: Path) -> list[str]:
    """grpo/v1 for recipes/grpo/v1.yaml."""
    files = sorted(recipes.rglob("*.yaml"))
    return [file.relative_to(recipes).with_suffix("").as_posix() for file in files]


def read_recipe(recipes: Path, name: str) -> DictConfig:
    """The recipe, with its own name under `recipe`.

    Raises ConfigError if it is not YAML, or selects what does not exist, or touches Hydra itself:
    Hydra imports and calls what its own nodes name, and a recipe is data.
    """
    file = recipes / f"{name}.yaml"
    recipe = _load(file)
    found = [f"{file}: {problem}" for problem in _problems(recipe)]
    if found:
        raise ConfigError("\n".join(found))
    recipe[RECIPE] = name
    return recipe


def _load(file: Path) -> DictConfig:
    try:
        recipe = OmegaConf.load(file)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file}: not valid YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(recipe, DictConfig):
        raise ConfigError(f"{file}: a recipe is a mapping from keys to values")
    return recipe


def _problems(recipe: DictConfig) -> Iterator[str]:
    for key in recipe:
        if str(key).partition(".")[0] == "hydra":
            yield "a recipe may not set hydra.* (Hydra would import and call what it names)"
        if key == RECIPE:
            yield "a recipe may not set 'recipe': its name comes from its path"
    defaults = recipe.get("defaults", ListConfig([]))
    if not isinstance(defaults, ListConfig):
        yield "'defaults' must be a list"
        return
    for entry in defaults:
        yield from _default_problems(entry)


def _default_problems(entry: object) -> Iterator[str]:
    """A recipe may override groups and build on another recipe; nothing else is composable data."""
    if isinstance(entry, str) and (entry == "_self_" or entry.startswith(f"/{RECIPE}/")):
        return
    if not isinstance(entry, DictConfig) or len(entry) != 1:
        yield f"defaults: {entry} is none of '_self_', '/recipe/NAME/vN', 'override /group: choice'"
        return
    ((key, choice),) = entry.items()
    name = str(key).removeprefix("override /")
    if name not in BY_NAME or name == key:
        wanted = did_you_mean(f"override /{name}", [f"override /{group}" for group in BY_NAME])
        yield f"defaults: {key!r} is not 'override /group'{wanted}"
    elif choice not in BY_NAME[name].options:
        yield f"defaults: {unknown_choice(name, str(choice), BY_NAME[name].options)}"

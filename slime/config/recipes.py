"""Recipes: files NAME/vN.yaml in the folders of slime and of the user, each read when selected."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from slime.config.groups import RECIPE
from slime.config.names import did_you_mean
from slime.config.recipe_file import inherited, load, recipe_problems
from slime.config.renamed import with_current_names
from slime.config.schema import ConfigError

FOLDERS = "SLIME_RECIPES"  # in the environment: folders of the user's own, with a colon between


def user_folders() -> list[Path]:
    """The folders that SLIME_RECIPES names.  Raises ConfigError if one is not there."""
    folders = [Path(name) for name in os.environ.get(FOLDERS, "").split(os.pathsep) if name]
    for folder in folders:
        if not folder.expanduser().is_dir():
            raise ConfigError(f"{FOLDERS}: {folder} is not a folder")
    return [folder.expanduser() for folder in folders]


def recipe_names(folder: Path) -> list[str]:
    """grpo/v1 for grpo/v1.yaml."""
    files = sorted(file for file in folder.rglob("*.yaml") if file.is_file())
    return [file.relative_to(folder).with_suffix("").as_posix() for file in files]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A name that `recipe=` takes, and where it stands.  Nothing has been read yet."""

    name: str
    files: tuple[Path, ...]  # one; more, if several folders have a recipe of this name
    own: bool  # whether it stands in a folder of the user's

    @property
    def file(self) -> Path:
        """Raises ConfigError if there are several."""
        if len(self.files) > 1:
            both = " and ".join(str(file) for file in self.files)
            raise ConfigError(
                f"recipe {self.name!r} is there more than once, in {both}: rename one"
            )
        return self.files[0]

    @property
    def summary(self) -> str:
        """The first line of the file, if that is a comment."""
        try:
            with self.files[0].open(encoding="utf-8") as lines:
                first = lines.readline().strip()
        except (OSError, UnicodeDecodeError):
            return "cannot be read"
        return first.lstrip("#").strip() if first.startswith("#") else ""


@dataclass(frozen=True, slots=True)
class Recipes:
    """All recipes by name: what slime ships, and what the user's folders add."""

    by_name: dict[str, Recipe]
    _read_before: dict[str, DictConfig] = field(default_factory=dict)

    def read(self, name: str) -> DictConfig:
        """The recipe, with its own name under `recipe`; as it stood when it was first read.

        Raises ConfigError if it, or a recipe it builds on, is not YAML, or selects what does not
        exist, or touches Hydra itself: Hydra imports and calls what its own nodes name, and a
        recipe is data.
        """
        if name not in self._read_before:
            recipe = self._read(name, ())
            recipe[RECIPE] = name
            self._read_before[name] = recipe
        return self._read_before[name]

    def __deepcopy__(self, memo: dict[int, object]) -> "Recipes":
        """Itself: Hydra copies its store for every composition, and a file is to be read once."""
        return self

    def _read(self, name: str, heirs: tuple[str, ...]) -> DictConfig:
        file = self.by_name[name].file
        recipe = load(file)
        found = [*recipe_problems(recipe), *self._ancestor_problems(recipe, (*heirs, name))]
        if found:
            raise ConfigError("\n".join(f"{file}: {problem}" for problem in found))
        for ancestor in inherited(recipe):
            self._read(ancestor, (*heirs, name))
        return with_current_names(recipe, file)

    def _ancestor_problems(self, recipe: DictConfig, line: tuple[str, ...]) -> Iterator[str]:
        for ancestor in inherited(recipe):
            if ancestor in line:
                circle = " -> ".join((*line[line.index(ancestor) :], ancestor))
                yield f"defaults: a recipe cannot inherit itself: {circle}"
            elif ancestor not in self.by_name:
                wanted = did_you_mean(ancestor, self.by_name)
                yield f"defaults: unknown recipe {ancestor!r}{wanted}"


def find_recipes(shipped: Path, own: Sequence[Path]) -> Recipes:
    """Every recipe of slime's folder and of the user's, by name; no file is opened."""
    files: dict[str, list[Path]] = {}
    folders = dict.fromkeys(folder.resolve() for folder in (shipped, *own))
    for folder in folders:
        for name in recipe_names(folder):
            files.setdefault(name, []).append(folder / f"{name}.yaml")
    ours = set(recipe_names(shipped))
    return Recipes(
        {
            name: Recipe(name, tuple(found), own=name not in ours or len(found) > 1)
            for name, found in sorted(files.items())
        }
    )

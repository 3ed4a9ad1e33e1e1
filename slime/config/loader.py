"""Hydra's loader, with one rule more: a choice that is replaced takes its keys along."""

from dataclasses import replace
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from slime.config.replaced import choices_among, choices_of, recipe_among, without_replaced


class Loader(ConfigLoaderImpl):
    """Composes as Hydra does, but for the values of recipes; see slime.config.replaced."""

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        # Only here is it known which choice of a group has won.
        paths = [default.config_path for default in defaults if default.config_path is not None]
        fitting = _FittingRecipes(repo, choices_among(paths))
        return super()._compose_config_from_defaults_list(defaults, fitting)


class _FittingRecipes(CachingConfigRepository):
    """What Hydra has read, each recipe without the keys of choices that are replaced."""

    def __init__(self, read: IConfigRepository, choices: dict[str, str]) -> None:
        self.delegate, self.cache = read, {}
        self._choices = choices

    def load_config(self, config_path: str) -> ConfigResult | None:
        found = super().load_config(config_path)
        recipe = recipe_among(config_path)
        if found is None or recipe is None:
            return found
        values: Any = found.config
        return replace(found, config=without_replaced(values, choices_of(recipe), self._choices))

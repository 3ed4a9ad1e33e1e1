"""Command lines -> compositions, by Hydra's own loader."""

import copy
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

ROOT_CONFIG = "config"


def search_path(conf: Path) -> ConfigSearchPath:
    """Where groups are: in the folder `conf`, and in what slime.config.store registered."""
    return create_config_search_path(str(conf))


def compose(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """One job's composition, without Hydra's own node."""
    cfg = loader.load_configuration(ROOT_CONFIG, list(overrides), run_mode=RunMode.RUN)
    return without_hydra(cfg)


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A copy that holds only what the schema describes."""
    job = copy.deepcopy(cfg)
    with open_dict(job):
        del job["hydra"]
    return job

"""Command lines -> compositions, by Hydra's own loader."""

import copy
from collections.abc import Sequence
from pathlib import Path

from hydra import version
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from slime.config.loader import Loader
from slime.config.plugins import without_installed
from slime.config.store import ROOT_CONFIG, register_conf


def search_path(conf: Path) -> ConfigSearchPath:
    """Where configs are: in Hydra's store, with the root config and the choices in `conf`."""
    without_installed()
    register_conf(conf)
    return create_config_search_path(None)


def config_loader(conf: Path) -> ConfigLoader:
    """Composes without running anything.  conf: the folder of the config groups."""
    version.setbase("1.3")
    return Loader(search_path(conf))


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

"""Command lines -> compositions, by Hydra's own loader."""

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

ROOT_CONFIG = "config"


def loader_for(conf: Path) -> ConfigLoader:
    """A loader of the groups in the folder `conf` and of what slime.config.store registered."""
    setup_globals()
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf)))


def compose(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """One job's composition, without Hydra's own node."""
    cfg = loader.load_configuration(ROOT_CONFIG, list(overrides), run_mode=RunMode.RUN)
    return without_hydra(cfg)


def without_hydra(cfg: DictConfig) -> DictConfig:
    """Only what the schema describes; `cfg` itself is left alone."""
    job: DictConfig = cfg.copy()
    with open_dict(job):
        del job["hydra"]
    return job


def jobs_of_sweep(loader: ConfigLoader, overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every job of a basic sweep, in the order in which it runs them.

    Raises HydraException for an override that cannot be parsed or enumerated.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    ((*jobs,),) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(job) for job in jobs]

from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from slime.config.compose import search_path
from slime.config.overrides import read_command_line
from slime.config.store import register

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def config():
    """The config that a command line means; model=tiny unless it says otherwise."""
    register(ROOT / "recipes")
    loader = ConfigLoaderImpl(search_path(ROOT / "conf"))

    def config(*overrides):
        model = [] if any(o.startswith("model=") for o in overrides) else ["model=tiny"]
        return read_command_line(loader, [*model, *overrides])

    return config

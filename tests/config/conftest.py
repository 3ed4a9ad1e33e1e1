import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from slime.config.compose import search_path
from slime.config.overrides import read_command_line
from slime.config.schema import Config
from slime.config.store import register

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """What one command line did."""

    exit_code: int
    out: str
    err: str
    trained: list[tuple[Config, Path]]  # config and run directory of every call of train()

    @property
    def messages(self) -> list[str]:
        lines = self.err.splitlines()
        assert all(line.startswith("config error: ") for line in lines), self.err
        return [line.removeprefix("config error: ") for line in lines]


@pytest.fixture(scope="session")
def launch():
    spec = importlib.util.spec_from_file_location("launch", ROOT / "launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(launch, monkeypatch, capsys, tmp_path):
    """Runs launch.py in this process, in an empty directory, with a train() that only takes note.

    `train` decides what that train() does; it returns the exit code of the run.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments, train=lambda *_: 0):
        trained = []

        def noted(config, directory):
            trained.append((config, directory))
            return train(config, directory)

        heavy = ModuleType("slime.train")
        heavy.train = noted
        monkeypatch.setitem(sys.modules, "slime.train", heavy)
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        try:
            exit_code = launch.main()
        except SystemExit as left:
            exit_code = left.code
        captured = capsys.readouterr()
        return Ended(exit_code, captured.out, captured.err, trained)

    return run


@pytest.fixture(scope="session")
def loader():
    register(ROOT / "recipes")
    return ConfigLoaderImpl(search_path(ROOT / "conf"))


@pytest.fixture(scope="session")
def config(loader):
    """The config that a command line means."""
    return lambda *overrides: read_command_line(loader, overrides)

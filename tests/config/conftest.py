import dataclasses
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from slime.config import store
from slime.config.compose import config_loader, search_path
from slime.config.groups import BY_NAME, BY_NODE, GROUPS
from slime.config.overrides import read_command_line
from slime.config.schema import Config
from slime.config.store import register
from slime.memory import check as memory_check
from slime.memory.machine import Machine

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
    """launch.py as a module, one for all: each would register its checks."""
    if "launch" not in sys.modules:
        spec = importlib.util.spec_from_file_location("launch", ROOT / "launch.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["launch"] = module
    return sys.modules["launch"]


@pytest.fixture
def command(launch, monkeypatch, capsys, tmp_path):
    """Runs launch.py in this process, in an empty directory, with a train() that only takes note.

    The machine has any memory.
    `train` decides what that train() does; it returns the exit code of the run.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory_check, "this_machine", lambda: Machine(2**60, 0, 0))

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

    yield run
    register(ROOT / "recipes")  # a launch in this process may have joined a user's own


@pytest.fixture(scope="session")
def loader():
    register(ROOT / "recipes")
    return config_loader(ROOT / "conf")


@pytest.fixture(scope="session")
def config(loader):
    """The config that a command line means."""
    return lambda *overrides: read_command_line(loader, overrides)


@pytest.fixture
def stand_in():
    """Makes slime a later one, which has another class in the place of one it has now."""
    with pytest.MonkeyPatch.context() as patch:

        def put(group, name, schema):
            now = BY_NAME[group]
            choices = [
                dataclasses.replace(choice, schema=schema) if choice.name == name else choice
                for choice in now.choices
            ]
            later = dataclasses.replace(now, choices=tuple(choices))
            patch.setattr(store, "GROUPS", tuple(later if g is now else g for g in GROUPS))
            patch.setitem(BY_NAME, group, later)
            patch.setitem(BY_NODE, now.node, later)
            search_path(ROOT / "conf")

        yield put
    search_path(ROOT / "conf")

"""What a start does without, and that nothing is lost by it."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from slime.config.compose import compose
from slime.config.groups import GROUPS
from slime.config.plugins import with_named

ROOT = Path(__file__).parents[2]
CHOICES = [f"{group.name}={choice.name}" for group in GROUPS for choice in group.choices]
OURS = {group.name.partition("/")[0] for group in GROUPS} | {"config.yaml"}

SPY = f"""
import atexit, runpy, sys
def said(): print([m for m in sys.modules if m.partition(".")[0] in ("hydra_plugins", "ray")
                   or m in ("importlib.metadata", "slime.reward", "slime.model")])
atexit.register(said)
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def plain(loader, monkeypatch):  # noqa: ARG001 (which fills the store)
    """Hydra's own reading of conf/: of every choice its file, and the class that the file names."""
    store = ConfigStore.instance()
    without = {name: entry for name, entry in store.repo.items() if name not in OURS}
    path = create_config_search_path(str(ROOT / "conf"))

    def composed(*overrides):
        with monkeypatch.context() as patched:
            patched.setattr(store, "repo", without)
            return compose(ConfigLoaderImpl(path), overrides)

    return composed


@pytest.mark.parametrize("choice", [None, *CHOICES])
def test_one_node_for_each_choice_is_what_hydra_makes_of_two(choice, plain, loader):
    overrides = [] if choice is None else [choice]
    assert plain(*overrides) == compose(loader, overrides)


@pytest.mark.parametrize("mistake", ["loss/aggregation=constant", "foo=1", "seed=-1", "--foo"])
def test_a_wrong_config_imports_no_plugins_and_nothing_that_only_a_run_needs(mistake, tmp_path):
    command = [sys.executable, "-c", SPY, str(ROOT / "launch.py"), mistake]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == "[]\n"


def test_plugins_are_there_for_who_names_one(loader):
    own = {"basic"}
    assert own <= set(loader.get_group_options("hydra/launcher"))
    with_named(["seed=1", "hydra/launcher=joblib"])
    plugins = Plugins.instance().class_name_to_class
    found = {name for name in plugins if name.startswith("hydra_plugins.")}
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher" in found
    assert "joblib" in loader.get_group_options("hydra/launcher")
    with_named(["hydra/sweeper=basic"])  # once is enough
    assert Plugins.instance().class_name_to_class == plugins

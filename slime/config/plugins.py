"""Hydra's plugins for sweeps: what they are called, when they are imported, how to install them."""

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

LAUNCHER, SWEEPER = "hydra/launcher", "hydra/sweeper"
OPTUNA = "optuna"
INSTALL = "pip install -c constraints.txt -e '.[sweepers]'"

_PLUGINS = "hydra_plugins"  # the namespace package of all plugins

# choice -> the package of hydra_plugins that brings it
_PACKAGES: Mapping[str, Mapping[str, str]] = {
    LAUNCHER: {
        "joblib": "hydra_joblib_launcher",
        "submitit_local": "hydra_submitit_launcher",
        "submitit_slurm": "hydra_submitit_launcher",
        "ray": "hydra_ray_launcher",
    },
    SWEEPER: {OPTUNA: "hydra_optuna_sweeper"},
}


def without_installed() -> Plugins:
    """Hydra's own plugins.  Those that are installed beside it are not imported.

    Hydra would import all of them at every start; the Ray launcher alone takes longer than
    finding a mistake in a config.
    """
    imported = sys.modules.get(_PLUGINS)
    sys.modules[_PLUGINS] = None  # type: ignore[assignment]  # to Python: there is no such package
    try:
        return Plugins.instance()
    finally:
        del sys.modules[_PLUGINS]
        if imported is not None:
            sys.modules[_PLUGINS] = imported


def with_named(overrides: Sequence[str]) -> Plugins:
    """All plugins, if the command line chooses one of Hydra's groups; else Hydra's own."""
    plugins = without_installed()
    known = any(name.startswith(f"{_PLUGINS}.") for name in plugins.class_name_to_class)
    named = any(override.lstrip("+~").startswith("hydra/") for override in overrides)
    if named and not known and find_spec(_PLUGINS) is not None:
        found, _ = Plugins._scan_all_plugins([importlib.import_module(_PLUGINS)])
        for plugin in found:
            plugins.register(plugin)
    return plugins


def not_installed(group: str, choice: str) -> str | None:
    """What to do about a choice whose package is not there; None if it is, or is none of these."""
    package = _PACKAGES.get(group, {}).get(choice)
    if package is None or _is_installed(package):
        return None
    return f"{group}={choice} needs the package {package.replace('_', '-')}: {INSTALL}"


def of_a_sweep(choices: Mapping[str, str | None]) -> Iterator[str]:
    """A line for each choice that a single run would ignore."""
    for group in _PACKAGES:
        if choices.get(group) not in (None, "basic"):
            yield f"{group}={choices[group]} is for a sweep: add -m, or leave it out"


def maximise() -> None:
    """Optuna minimises unless told otherwise, two trials at a time; a reward is maximised."""
    store = ConfigStore.instance()
    node = store.repo.get("hydra", {}).get("sweeper", {}).get(f"{OPTUNA}.yaml")
    if node is not None:
        node.node.direction = "maximize"
        node.node.n_jobs = 1


def _is_installed(package: str) -> bool:
    try:
        return find_spec(f"{_PLUGINS}.{package}") is not None
    except ModuleNotFoundError:
        return False

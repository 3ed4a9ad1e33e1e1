"""One recipe file: YAML that selects choices of groups and sets values, and can do nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slime.config.fingerprint import ERRAND
from slime.config.groups import BY_NAME, BY_NODE, RECIPE
from slime.config.interpolation import asks
from slime.config.keys import group_that_writes, is_label, join
from slime.config.names import did_you_mean, unknown_choice
from slime.config.schema import ConfigError
from slime.reading import read_yaml_text

_INHERIT = f"/{RECIPE}/"
_COMMAND_LINE_ONLY = ("cluster.address", "cluster.allowed_imports")
_CHOSEN_ON_THE_COMMAND_LINE = "cluster"  # a Ray cluster that somebody else runs can run code here
CALLED = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")  # what Hydra would call


def load(file: Path) -> DictConfig:
    """The mapping in the file.  Raises ConfigError, with the line, if there is none."""
    try:
        read_yaml_text(file)
        recipe = OmegaConf.load(file)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file}: not valid YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(recipe, DictConfig):
        raise ConfigError(f"{file}: a recipe is a mapping from keys to values")
    return recipe


def inherited(recipe: DictConfig) -> list[str]:
    """The names of the recipes that it builds on directly."""
    entries = _plain(recipe).get("defaults")
    texts = (
        [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    )
    return [text.removeprefix(_INHERIT) for text in texts if text.startswith(_INHERIT)]


def recipe_problems(recipe: DictConfig) -> Iterator[str]:
    """A sentence for each thing that a recipe may not say."""
    values = _plain(recipe)
    for key in values:
        if str(key).partition(".")[0] == "hydra":
            yield "a recipe may not set hydra.* (Hydra would import and call what it names)"
        if key == RECIPE:
            yield "a recipe may not set 'recipe': its name comes from its path"
        elif key in ERRAND:
            yield f"a recipe may not set {key!r}: it says what is done, and a recipe with what"
    for path in _COMMAND_LINE_ONLY:
        if _sets(values, path):
            yield f"a recipe may not set {path}: only the command line does"
    yield from _calls(values, "")
    yield from _misplaced(values, "")
    defaults = values.get("defaults", [])
    if not isinstance(defaults, list):
        yield "'defaults' must be a list"
        return
    for entry in defaults:
        yield from _default_problems(entry)
    yield from _shadowed(list(defaults))


def _plain(recipe: DictConfig) -> dict[Any, Any]:
    values = OmegaConf.to_container(recipe, resolve=False)
    assert isinstance(values, dict)
    return values


def line_of(file: Path, path: str) -> int | None:
    """The line of the file in which the key at this dotted path stands; None if it does not."""
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return None
    line = None
    for name in path.split("."):
        if not isinstance(node, yaml.MappingNode):
            return None
        pairs = {key.value: (key, value) for key, value in node.value}
        if name not in pairs:
            return None
        key, node = pairs[name]
        line = key.start_mark.line + 1
    return line


def _sets(values: object, path: str) -> bool:
    """Whether this dotted path has a value, however its keys are joined."""
    if not isinstance(values, dict):
        return False
    return any(
        str(key) == path
        or (path.startswith(f"{key}.") and _sets(inner, path.removeprefix(f"{key}.")))
        for key, inner in values.items()
    )


def _calls(value: object, path: str) -> Iterator[str]:
    """Nothing in slime instantiates what a config names; a recipe is not to look as if it did."""
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else str(key)
            if str(key).rpartition(".")[2] in CALLED:
                yield f"a recipe is data and may not call anything: drop {here}"
            yield from _calls(inner, here)
    elif isinstance(value, list):
        for inner in value:
            yield from _calls(inner, path)


def _misplaced(values: dict[Any, Any], path: str) -> Iterator[str]:
    """Keys written as the command line has them, choices as values, values from elsewhere."""
    for key, value in values.items():
        here = join(path, str(key))
        group = BY_NODE.get(here) or BY_NAME.get(here)
        if "." in str(key):
            first, _, rest = str(key).partition(".")
            yield f"{key!r}: a recipe has a key below its node: write {first}: {{{rest}: ...}}"
        elif group is not None and not isinstance(value, dict):
            yield f"{here}: a recipe chooses in defaults: write - override /{group.name}: {value}"
        elif is_label(here):
            group = group_that_writes(here)
            yield f"{here}: a recipe chooses in defaults: write - override /{group.name}: {value}"
        elif isinstance(value, dict):
            yield from _misplaced(value, here)
        else:
            yield from _asking(value, here)


def _asking(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str) and asks(value):
        yield f"{path}: {value!r} asks the machine it runs on, and a recipe is the same on all"
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _asking(inner, path)


def _shadowed(defaults: list[object]) -> Iterator[str]:
    """What a later entry of the list would undo without a word."""
    after_self = defaults[defaults.index("_self_") + 1 :] if "_self_" in defaults else []
    for entry in after_self:
        if isinstance(entry, str) and entry.startswith(_INHERIT):
            yield f"defaults: {entry} after '_self_' undoes this recipe's values: put '_self_' last"
    chosen = [str(key) for entry in defaults if isinstance(entry, dict) for key in entry]
    for key in dict.fromkeys(key for key in chosen if chosen.count(key) > 1):
        yield f"defaults: {key!r} is there twice: write it once"


def _default_problems(entry: object) -> Iterator[str]:
    """A recipe may override groups and build on another recipe; nothing else is composable data."""
    if isinstance(entry, str) and (entry == "_self_" or entry.startswith(_INHERIT)):
        return
    if not isinstance(entry, dict) or len(entry) != 1:
        yield f"defaults: {entry} is none of '_self_', '/recipe/NAME/vN', 'override /group: choice'"
        return
    ((key, choice),) = entry.items()
    name = str(key).removeprefix("override /")
    if name == RECIPE:
        yield f"defaults: {key!r}: write - {_INHERIT}{choice}"
        return
    if name == _CHOSEN_ON_THE_COMMAND_LINE:
        yield f"a recipe may not choose {name}={choice}: only the command line does"
        return
    if name not in BY_NAME or name == key:
        wanted = did_you_mean(f"override /{name}", [f"override /{group}" for group in BY_NAME])
        yield f"defaults: {key!r} is not 'override /group'{wanted}"
    elif choice not in BY_NAME[name].options:
        yield f"defaults: {unknown_choice(name, str(choice), BY_NAME[name].options)}"

"""Exceptions of Hydra and OmegaConf -> the sentences a user reads."""

import errno
import re

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from slime.config.build import field_at, node_classes
from slime.config.groups import RECIPE
from slime.config.interpolation import unresolved
from slime.config.names import did_you_mean, unknown_choice, unknown_key
from slime.config.plugins import not_installed
from slime.config.recipe_file import line_of
from slime.config.schema import Config, ConfigError
from slime.config.store import own_file
from slime.config.values import wrong_value


def explain(error: BaseException) -> list[str]:
    """One line for each problem; none for an exception that is no mistake in a config."""
    match error:
        case ConfigError():
            return str(error).splitlines()
        case OSError(errno=errno.ENAMETOOLONG):
            return [f"{error.filename}: {error.strerror}"]
        case MissingConfigException(missing_cfg_file=str(file)):
            group, _, choice = file.rpartition("/")
            return [
                not_installed(group, choice) or unknown_choice(group, choice, error.options or [])
            ]
        case OmegaConfBaseException():
            return [_sentence(error)]
        case HydraException():
            cause = error.__cause__ or error.__context__
            if isinstance(cause, OmegaConfBaseException):
                return [_sentence(cause) + _source(error, str(cause.full_key))]
            return [" ".join(str(error).split())]
    return []


def _sentence(error: OmegaConfBaseException) -> str:
    key, parent = error.full_key, error.parent_node
    first = str(error).splitlines()[0]
    if not key or parent is None:
        return f"{key}: {first}" if key else first
    root = parent._get_root()
    ours = OmegaConf.get_type(root) is Config and not key.startswith("hydra.")
    if ours and isinstance(root, DictConfig):
        tree = node_classes(root)
        field = field_at(key, tree)
        if field is None:
            return unknown_key(key, tree, _written(error))
        return wrong_value(key, field, error.value) or f"{key}: {first}"
    if isinstance(error, InterpolationResolutionError):
        return f"{key}: {unresolved(error)}"
    if not isinstance(error, ConfigKeyError | ConfigAttributeError):
        return f"{key}: {first}"
    if key.startswith("hydra.launcher.") and list(parent) == ["_target_"]:
        return f"{key!r} is not used by the basic launcher: write hydra/launcher=joblib, or another"
    schema = OmegaConf.get_type(parent)
    return f"unknown key {key!r}" + did_you_mean(
        key.rpartition(".")[2], getattr(schema, "__dataclass_fields__", ())
    )


def _written(error: OmegaConfBaseException) -> str | None:
    """The value that was to stand at the key, if it is one value."""
    return None if error.value is None or OmegaConf.is_config(error.value) else str(error.value)


def _source(error: Exception, key: str) -> str:
    """Which file holds the mistake, where Hydra says so."""
    match = re.match(r"In '([^']*)':", str(error))
    return "" if match is None else where_set(match[1], key)


def where_set(config: str, key: str) -> str:
    """The end of a sentence: in which config the key is set, and of the user's own the line."""
    file = own_file(config.removeprefix(f"{RECIPE}/"))
    line = line_of(file, key) if file is not None else None
    return f" (set in {file or config}{f', line {line}' if line else ''})"

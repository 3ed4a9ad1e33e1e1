"""Exceptions of Hydra and OmegaConf -> the sentences a user reads."""

import re

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from slime.config.build import node_classes
from slime.config.names import did_you_mean, unknown_choice, unknown_key
from slime.config.schema import Config, ConfigError


def explain(error: BaseException) -> list[str]:
    """One line for each problem; none for an exception that is no mistake in a config."""
    match error:
        case ConfigError():
            return str(error).splitlines()
        case MissingConfigException(missing_cfg_file=str(file)):
            group, _, choice = file.rpartition("/")
            return [unknown_choice(group, choice, error.options or [])]
        case OmegaConfBaseException():
            return [_sentence(error)]
        case HydraException():
            cause = error.__cause__ or error.__context__
            if isinstance(cause, OmegaConfBaseException):
                return [_sentence(cause) + _source(error)]
            return [" ".join(str(error).split())]
    return []


def unreadable(text: str, error: Exception) -> str:
    """The sentence for an override outside Hydra's grammar."""
    if "=" not in text and not text.startswith("~"):
        return f"cannot read {text!r}: write key=value (--help lists what there is)"
    reason = str(error).splitlines()[0]
    return f"cannot read {text!r}: {reason} (quote special characters: 'key=\"a (b)\"')"


def _sentence(error: OmegaConfBaseException) -> str:
    key, parent = error.full_key, error.parent_node
    if not isinstance(error, ConfigKeyError | ConfigAttributeError) or not key or parent is None:
        first = str(error).splitlines()[0]
        return f"{key}: {first}" if key else first
    root = parent._get_root()
    if OmegaConf.get_type(root) is Config and not key.startswith("hydra."):
        assert isinstance(root, DictConfig)
        return unknown_key(key, node_classes(root))
    schema = OmegaConf.get_type(parent)
    return f"unknown key {key!r}" + did_you_mean(
        key.rpartition(".")[2], getattr(schema, "__dataclass_fields__", ())
    )


def _source(error: Exception) -> str:
    """Which file holds the mistake, where Hydra says so."""
    match = re.match(r"In '([^']*)':", str(error))
    return f" (set in {match[1]})" if match else ""

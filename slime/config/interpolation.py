"""Why a ${...} in a config stands for nothing."""

import re

from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    InterpolationValidationError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from slime.config.names import meant_by


def unresolved(error: OmegaConfBaseException) -> str:
    """The end of a sentence that starts with the key and its value."""
    first = str(error).splitlines()[0]
    match error:
        case InterpolationValidationError():
            return "what it stands for does not fit this key"
        case InterpolationToMissingValueError():
            return "what it stands for is required itself"
        case InterpolationKeyError():
            return _no_key(_quoted(first))
        case UnsupportedInterpolationType():
            kind = first.rpartition(" ")[2]
            return f"there is no {kind!r} to ask; write ${{key}} or ${{oc.env:NAME}}"
    if "Recursive" in first:
        return "it stands for itself: write a value"
    if "parent node" in first:
        return "it stands for a whole node; write ${node.key}"
    if "Environment variable" in first:
        name = _quoted(first)
        return f"{name} is not set in the environment; with a default: ${{oc.env:{name},default}}"
    return first


def _no_key(name: str) -> str:
    if name.startswith("hydra."):
        return "what is below hydra cannot be referred to; refer to a key of the run, e.g. ${seed}"
    meant = meant_by(name)
    if meant is None or "/" in meant:
        return f"there is no key {name!r}"
    return f"there is no key {name!r}; did you mean ${{{meant}}}?"


def _quoted(text: str) -> str:
    """The first name in single quotes."""
    found = re.search(r"'([^']*)'", text)
    return found[1] if found else text

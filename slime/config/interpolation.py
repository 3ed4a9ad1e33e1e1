"""What a ${...} in a config asks for, and why it stands for nothing."""

import re

from omegaconf import grammar_parser
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    InterpolationValidationError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser

from slime.config.names import meant_by


def asks(text: str) -> bool:
    """Whether it holds anything but text and values of other keys: ${oc.env:HOME}, ${now:...}."""
    if "${" not in text:
        return False
    try:
        nodes = [grammar_parser.parse(text)]
    except GrammarParseError:
        return False  # it stands for nothing, which is told where it is resolved
    while nodes:
        node = nodes.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            return True
        nodes += getattr(node, "children", None) or []
    return False


def literal(text: str) -> str:
    """What stands for this very text: nothing in it is resolved."""
    return re.sub(r"(\\*)\$\{", lambda found: rf"{found[1] * 2}\${{", text)


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
    if "HydraConfig was not set" in first:
        return "${hydra:...} has no value yet: write ${now:%Y-%m-%d} or ${key}"
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

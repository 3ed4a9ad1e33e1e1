"""Functions of the user's own, as far as they can be judged before anything is imported."""

from collections.abc import Iterator, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from slime.config.function_source import source_problems
from slime.config.schema import Config
from slime.config.schema.imported import import_problems
from slime.config.schema.named_functions import named_functions

_PARAMETERS = {"loss.function": ("step",), "reward.function": ("response", "answer")}


def function_problems(config: Config) -> Iterator[str]:
    """A sentence for each function that is not there, or that is called otherwise."""
    for key, path in named_functions(config.loss, config.reward):
        found = list(import_problems(key, path))
        yield from found or source_problems(key, path, *_PARAMETERS[key])


def not_named_on(overrides: Sequence[Override], config: Config) -> Iterator[str]:
    """A sentence for each function that the command line itself does not name.

    To import is to run: a recipe or a run of earlier comes from anywhere, a command line from
    whoever answers for it.  What only reads (command=diff) imports nothing.
    """
    if config.command.only_reads:
        return
    named = {path: value for each in overrides for path, value in _leaves(each)}
    for key, path in named_functions(config.loss, config.reward):
        if named.get(key) != path:
            yield (
                f"{key}={path} is not named on the command line, and importing it runs code: add "
                f"{key}={path} if you trust it"
            )


def not_named_in(texts: Sequence[str], config: Config) -> list[str]:
    """The same for the overrides of a job as they were written."""
    parser, read = OverridesParser.create(), []
    for text in texts:
        try:
            read.append(parser.parse_override(text))
        except HydraException:
            continue  # it names no function
    return list(not_named_on(read, config))


def _leaves(override: Override) -> Iterator[tuple[str, object]]:
    if not override.is_delete() and not override.is_sweep_override():
        yield from _inside(override.key_or_group, override.value())


def _inside(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _inside(f"{path}.{key}", inner)
    else:
        yield path, value

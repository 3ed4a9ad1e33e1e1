"""Which of Hydra's own keys a command line may set: where runs go, and how a sweep runs.

Hydra imports and calls what some of its keys name (callbacks, loggers, `_target_` anywhere), and
reads configs from wherever its search path says.  So there is a list of what may be set.
"""

import re
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from slime.config.recipe_file import CALLED

_FACTORY = "()"  # logging's word for what it is to call
_MAY_SET = re.compile(
    r"hydra\.((run|sweep|job|launcher|sweeper)\..+|verbose|mode|output_subdir|launcher|sweeper)"
)
_MAY_CHOOSE = re.compile(r"hydra/(launcher|sweeper|sweeper/sampler|job_logging|hydra_logging)")
_NAMES_CODE = ("custom_search_space",)  # of hydra-optuna-sweeper: a function, by import path


def hydra_problems(overrides: Sequence[str]) -> Iterator[str]:
    """A sentence for each override that may not be set.

    What cannot be read is left to whoever reads it.
    """
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            continue
        yield from hydra_problem(override)


def hydra_problem(override: Override) -> Iterator[str]:
    """Why this override may not be set; nothing for those that do not touch Hydra itself."""
    key = override.key_or_group
    package = override.package or ""
    if not _is_hydras(key) and not _is_hydras(package):
        return
    names = [*re.split(r"[./@]", key), *_names_in(override._value)]
    called = [name for name in names if name in (*CALLED, _FACTORY, *_NAMES_CODE)]
    allowed = _MAY_CHOOSE.fullmatch(key) if "/" in key else _MAY_SET.fullmatch(key)
    if called:
        yield f"{override.input_line!r}: {called[0]} would run code: it may not be set"
    elif package or not allowed:
        yield (
            f"{override.input_line!r}: this key of Hydra may not be set, because such keys can run "
            "code; what may be is hydra.run.dir, hydra.sweep.dir, hydra.job.*, hydra/launcher, "
            "hydra/sweeper and their keys"
        )


def _is_hydras(name: str) -> bool:
    return re.split(r"[./@]", name)[0] == "hydra"


def _names_in(value: object) -> Iterator[str]:
    """Every key of a value that is made of dicts and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from re.split(r"\.", str(key))
            yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)

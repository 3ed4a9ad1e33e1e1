"""What of Hydra a command line may set: where runs go, what launches them, what sweeps.

The rest of Hydra's own node would move folders that have been checked, import and call what it
names (callbacks, loggers, `_target_` anywhere), read configs from elsewhere, or change nothing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from slime.config.recipe_file import CALLED
from slime.config.spelling import closest

RUN_DIR, SWEEP_DIR = "hydra.run.dir", "hydra.sweep.dir"

_NAME, _ENV_SET, _ENV_COPY = "hydra.job.name", "hydra.job.env_set", "hydra.job.env_copy"
_ALONE = (RUN_DIR, SWEEP_DIR, _NAME)
_TOLD_ELSEWHERE = ("hydra.sweep.subdir", "hydra.mode")  # that, and why, they are to be left out
_BELOW = ("hydra/launcher", "hydra/sweeper", "hydra.launcher.", "hydra.sweeper.", "hydra.job.env_")
KNOWN = (
    f"{', '.join(_ALONE)}, {_BELOW[-1]}*, hydra/launcher, hydra/sweeper and what is below these two"
)
_OWN_KEY = re.compile(r"hydra\.(launcher|sweeper)\.[^.]+")
_SPACES = ("params", "search_space")
_FUNCTION_SPACE = "custom_search_space"  # of hydra-optuna-sweeper: a function, by import path
_AT_LEAST_1 = (
    "hydra.launcher.timeout_min",
    "hydra.sweeper.max_batch_size",
    "hydra.sweeper.n_jobs",
    "hydra.sweeper.n_trials",
)
_SAMPLER = "hydra/sweeper/sampler"
_FACTORY = "()"  # logging's word for what it is to call


def hydra_problems(overrides: Sequence[Override], *, multirun: bool) -> Iterator[str]:
    """A sentence for each override of Hydra's node that slime does not leave to it."""
    for override in overrides:
        if touches_hydra(override):
            yield from hydra_problem(override, multirun=multirun)


def sets_run_dir(overrides: Sequence[str]) -> bool:
    """Whether the command line says where the run goes."""
    return any(text.lstrip("+").startswith(f"{RUN_DIR}=") for text in overrides)


def touches_hydra(override: Override) -> bool:
    """Also model@hydra.x=tiny, whose key is not Hydra's."""
    return _is_hydras(override.key_or_group) or _is_hydras(override.package or "")


def hydra_problem(override: Override, *, multirun: bool) -> Iterator[str]:
    """The sentence for one override of Hydra's node, if it may not be set, or not to that."""
    key, text = override.key_or_group, str(override.input_line)
    value = None if override.is_delete() or override.is_sweep_override() else override.value()
    if called := _called(override):
        yield f"{text!r}: {called} would run code: it may not be set"
    elif not _is_known(key) or override.is_delete() or override.package:
        near = closest(key, _ALONE, cutoff=0.9)
        guess = f"did you mean {near!r}?" if near and near != key else "leave it out"
        yield f"{text!r}: of Hydra's own settings slime knows {KNOWN}: {guess}"
    elif text.startswith("+") and _OWN_KEY.fullmatch(key):
        yield f"{text!r}: write it without the + (it would be pushed past what knows its keys)"
    elif override.is_sweep_override():
        yield f"{text!r}: Hydra's own settings are the same for every job: write one value"
    else:
        yield from _value_problems(key, value, text, multirun=multirun)


def _value_problems(key: str, value: Any, text: str, *, multirun: bool) -> Iterator[str]:
    if key in (RUN_DIR, SWEEP_DIR):
        yield from _folder_problems(key, value, multirun=multirun)
    elif key == _NAME and not _is_text(value):
        yield f"{key} must be a name: write {key}=<a name>"
    elif key.startswith(_ENV_SET) and not _is_environment(key, value):
        yield f"{text!r}: write +{_ENV_SET}.NAME=text"
    elif key == _ENV_COPY and not isinstance(value, list):
        yield f"{text!r}: write {_ENV_COPY}=[NAME]"
    elif key.startswith("hydra.sweeper.") and key.split(".")[2] in _SPACES:
        yield f"{text!r}: write the key itself on the command line, e.g. seed=0,1,2"
    elif key in _AT_LEAST_1 and (not isinstance(value, int) or value < 1):
        yield f"{key} must be a whole number of at least 1, got {_shown(value)}"
    elif key == "hydra.launcher.n_jobs" and (not isinstance(value, int) or value == 0):
        yield f"{key} must be a whole number and not 0 (-1: every core), got {_shown(value)}"
    elif key == _SAMPLER and value == "grid":
        yield f"{text!r}: every combination is what a sweep without hydra/sweeper=optuna runs"


def _folder_problems(key: str, value: Any, *, multirun: bool) -> Iterator[str]:
    if isinstance(value, list | dict):
        yield f"{key} must be one folder: write {key}=<a folder>"
    elif not _is_text(value):
        yield f"{key} must not be empty: write {key}=<a folder>"
    elif key == RUN_DIR and multirun:
        yield f"{key} is for one run: with -m write {SWEEP_DIR}=<the folder of all jobs>"
    elif key == SWEEP_DIR and not multirun:
        yield f"{key} is for a sweep: add -m, or write {RUN_DIR}=<a folder>"
    elif key == SWEEP_DIR and "${" in str(value).replace("${now:", ""):
        yield f"{key}={value}: it is one folder for all jobs and cannot depend on a key"


def _is_known(key: str) -> bool:
    return key in (*_ALONE, *_TOLD_ELSEWHERE) or key.startswith(_BELOW)


def _is_text(value: object) -> bool:
    return isinstance(value, str | int | float) and bool(str(value).strip())


def _is_environment(key: str, value: object) -> bool:
    """A text for each variable."""
    values = value.values() if isinstance(value, dict) and key == _ENV_SET else [value]
    return (key != _ENV_SET or isinstance(value, dict)) and all(
        isinstance(one, str | int | float) for one in values
    )


def _shown(value: object) -> str:
    return "null" if value is None else str(value)


def _called(override: Override) -> str | None:
    """The first of its keys whose value something would import and call."""
    names = [*re.split(r"[./@]", override.key_or_group), *_keys_in(override._value)]
    return next((name for name in names if name in (*CALLED, _FACTORY, _FUNCTION_SPACE)), None)


def _is_hydras(name: str) -> bool:
    return re.split(r"[./@]", name)[0] == "hydra"


def _keys_in(value: object) -> Iterator[str]:
    """Every key of a value that is made of dicts and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from str(key).split(".")
            yield from _keys_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys_in(inner)

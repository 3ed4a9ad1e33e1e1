"""Functions of the user's own, named in the config as package.module:name."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from slime.config.schema.base import MISSING, ConfigError, is_required


def import_function(key: str, path: str, *parameters: str) -> Callable[..., Any]:
    """The function that `path` names and that can be called with these parameters, by position.

    Raises ConfigError, naming the key, when it cannot be imported, is not there or is called
    differently.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"{key}={path} must be written package.module:name")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as failed:  # whatever the user's module raises
        raise ConfigError(_cannot_import(key, path, describe(failed))) from failed
    function = vars(module).get(name)
    if function is None:
        raise ConfigError(f"{key}={path}: {module_name} has no {name}")
    if not callable(function):
        raise ConfigError(f"{key}={path} is a {type(function).__name__}, not a function")
    _check_signature(key, path, function, parameters)
    checked: Callable[..., Any] = function
    return checked


def path_problems(key: str, path: str) -> Iterator[str]:
    """Whether the value has the form of one."""
    if path == MISSING:
        yield is_required(key)
    elif not re.fullmatch(r"\w+(\.\w+)*:\w+", path):
        yield f"{key} must be package.module:name, got {path!r}"


def import_problems(key: str, path: str) -> Iterator[str]:
    """What can be known without running any of the user's code: that there is no such package."""
    package = path.partition(":")[0].partition(".")[0]
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        yield _cannot_import(key, path, f"ModuleNotFoundError: No module named {package!r}")


def describe(error: BaseException) -> str:
    """The exception in one line."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception of the user's own, which cannot say what it is
        lines = []
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _cannot_import(key: str, path: str, reason: str) -> str:
    module_name = path.partition(":")[0]
    return f"{key}={path}: cannot import {module_name} ({reason}); it must be on PYTHONPATH"


def _check_signature(
    key: str, path: str, function: Callable[..., Any], parameters: tuple[str, ...]
) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions do not tell
        return
    try:
        signature.bind(*parameters)
    except TypeError:
        wanted = ", ".join(parameters)
        raise ConfigError(f"{key}={path} must take ({wanted}), but takes {signature}") from None

"""Folders that are made once and kept: $SLIME_CACHE, or the user's cache directory."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from safetensors import SafetensorError

from slime.config.schema import ConfigError


def cache_folder() -> Path:
    """Where prepared models are kept."""
    chosen = os.environ.get("SLIME_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("slime"))


def cached_folder(name: str, build: Callable[[Path], None]) -> Path:
    """The cached folder `name`; `build(folder)` fills it if it is not there yet.

    A folder of that name is always whole: it is built aside and renamed.  When several processes
    want it at once, one builds it and the others wait.
    Raises ConfigError when the cache cannot be written (no permission, disk full).
    """
    target = cache_folder() / name
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one_process(target.with_name(f".{name}.lock")):
            if not target.is_dir():
                _build_aside(target, build)
    except (OSError, SafetensorError) as failed:  # safetensors has its own "no space left"
        reason = failed.strerror if isinstance(failed, OSError) else str(failed)
        raise ConfigError(
            f"cannot write the model cache {cache_folder()} ({reason}): make room or set "
            f"SLIME_CACHE to a folder that can be written"
        ) from failed
    return target


def _build_aside(target: Path, build: Callable[[Path], None]) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        build(aside)
        aside.chmod(0o755)  # mkdtemp's 0700 would lock out other users of a shared cache
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _only_one_process(lock: Path) -> Iterator[None]:
    """The kernel lets go of the lock when its holder dies, so it never goes stale."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

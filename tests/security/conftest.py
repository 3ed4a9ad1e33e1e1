import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from config.conftest import command, config, launch, loader  # noqa: F401  fixtures


class MakesFolder:
    """Unpickled, it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


class Trap:
    """What an attack would do, and whether it has."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "attacked"

    @property
    def pickled(self) -> bytes:
        return pickle.dumps(MakesFolder(self.target))

    @property
    def sprang(self) -> bool:
        return self.target.exists()

    def module(self, folder: Path, name: str) -> None:
        """A module that springs the trap when it is imported."""
        text = f"import os\nos.mkdir({str(self.target)!r})\ndef f(*_): return 1.0\n"
        (folder / f"{name}.py").write_text(text)


@pytest.fixture
def trap(tmp_path):
    """Fails the test if anything ran; works, or it would prove nothing."""
    trap = Trap(tmp_path)
    pickle.loads(trap.pickled)
    trap.target.rmdir()
    yield trap
    assert not trap.sprang


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Callable[[str, str], Path]:
    """Writes a recipe of the user's own."""
    folder = tmp_path / "recipes"
    monkeypatch.setenv("SLIME_RECIPES", str(folder))

    def write(text: str, name: str = "evil/v1") -> Path:
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write

"""README.md and docs/ show only commands that work."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(name: str) -> list[str]:
    found = re.search(rf"<!-- {name} -->\n```bash\n(.*?)```", README, re.S)
    assert found, name
    return found[1].splitlines()


def inline_launches() -> list[str]:
    return re.findall(r"`(python launch\.py [^`]*)`", README)


def documented_launches() -> list[str]:
    """Indented lines of docs/, which may set variables first."""
    docs = "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    return re.findall(r"^    (?:\w+=\S+ )?(python launch\.py .*)$", docs, re.M)


@pytest.mark.parametrize(
    "line", documented_launches() + block("commands") + block("check") + inline_launches()
)
def test_every_command_composes(line, tmp_path):
    words = shlex.split(line, comments=True)
    assert words[:2] == ["python", "launch.py"]
    if "hydra/launcher=ray" in words:  # the one plugin that no extra brings
        pytest.importorskip("hydra_plugins.hydra_ray_launcher.ray_launcher")
    arguments = [w for w in words[2:] if w not in ("-m", "--help", "--cfg", "job")]
    arguments = [
        re.sub(r"=(tag\(log,)?(interval|choice)\(([^,)]*).*", r"=\3", a) for a in arguments
    ]
    arguments = [re.sub(r"=([^,]*),.*", r"=\1", a) for a in arguments]  # a sweep's first job
    shown = [sys.executable, str(ROOT / "launch.py"), *arguments, "--cfg", "job"]
    done = subprocess.run(shown, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_folder_map_names_every_room():
    rooms = {p.stem for p in (ROOT / "slime").iterdir() if not p.name.startswith("__")}
    shown = README.partition("## The folders")[2]
    assert not {room for room in rooms if f"{room}/" not in shown and f"{room}.py" not in shown}


def test_both_one_line_commands_install_the_same_way_torch_first():
    [run], [tests] = block("run"), block("tests")
    assert run.endswith("pip install -c constraints.txt -e . && python launch.py")
    assert tests.endswith(
        "pip install -c constraints.txt -e '.[test]' && pytest -n 2 --dist loadfile"
    )
    assert run.index("torch==2.13.0") < run.index("-e .")
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split()

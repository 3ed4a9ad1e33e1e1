"""The rule between rooms: imports go down only, and each heavy library has one home."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A room may import itself, slime.config.schema, and the rooms named here.
ALLOWED = {
    "reading": set(),
    "config": {"disk", "reading"},
    "stop": set(),
    "checkpoint": {"reading"},
    "data": set(),
    "loss": {"data"},
    "advantage": {"data"},
    "model": {"reading"},
    "memory": {"model"},
    "task": {"data"},
    "reward": {"data"},
    "rollout": {"data", "task", "reward", "model", "reading"},
    "distributed": {"data", "loss"},
    "megatron": {"data", "loss", "model", "distributed", "reading"},
    "plan": {"data", "loss", "advantage"},
    "kl_in_reward": {"data", "loss", "advantage", "plan"},
    "tracking": {"data", "model", "reward", "rollout"},
    "report": {"reading"},
    "cluster": {"data", "rollout", "distributed", "megatron"},
    "background": set(),
    "disk": set(),
    "saving": {"background", "checkpoint", "cluster", "model"},
    "ends": {"checkpoint", "cluster", "disk", "saving", "start", "stop", "tracking"},
    "verifying": {"cluster", "model", "rollout"},
    "begin": {"checkpoint", "cluster", "tracking"},
    "sources": {
        "begin", "cluster", "data", "model", "plan", "reward", "rollout", "task",
    },
    "start": {
        "begin", "data", "plan", "kl_in_reward", "model", "rollout", "megatron", "cluster",
        "tracking", "checkpoint", "saving", "sources", "verifying",
    },
    "check": {
        "cluster", "config", "data", "kl_in_reward", "loss", "model", "plan", "report", "rollout",
        "start",
    },
    "train": {
        "begin", "checkpoint", "cluster", "data", "ends", "model", "report", "saving", "start",
        "stop", "tracking",
    },
    "job": {"check", "cluster", "config", "memory", "train"},
}  # fmt: skip

# library -> the rooms that may import it
HOMES = {
    "hydra": {"config"},
    "omegaconf": {"config"},
    "ray": {"cluster"},
    "torch.distributed": {"distributed", "megatron"},
    "megatron": {"distributed", "megatron"},
    "transformers": {"model", "rollout"},
    "matplotlib": {"report"},
    "tensorboard": {"tracking"},
    "wandb": {"tracking"},
    "mlflow": {"tracking"},
    "pandas": {"report"},
    "scipy": {"report"},
    "jinja2": {"report"},
}


def modules() -> list[Path]:
    return sorted((ROOT / "slime").rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "slime").with_suffix("").parts
    return parts[0]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_has_a_rule():
    rooms = {room_of(p) for p in modules()} - {"__init__"}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    room = room_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top != "slime" or rest.startswith("config.schema") or room == "__init__":
            continue
        target = rest.partition(".")[0]
        assert target == room or target in ALLOWED[room], f"{room} may not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_stay_in_their_rooms(path):
    for name in imports(path):
        for library, homes in HOMES.items():
            if name == library or name.startswith(f"{library}."):
                assert room_of(path) in homes, f"{path} imports {name}; its home is {homes}"


def test_the_rule_forbids_cycles():
    finished: set[str] = set()

    def visit(room: str, above: tuple[str, ...]) -> None:
        assert room not in above, " -> ".join((*above, room))
        if room not in finished:
            for below in ALLOWED[room]:
                visit(below, (*above, room))
            finished.add(room)

    for room in ALLOWED:
        visit(room, ())

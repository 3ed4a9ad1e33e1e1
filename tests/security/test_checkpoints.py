"""A checkpoint from elsewhere, with a manifest that fits it: hashes say nothing of intent."""

import io
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from checkpoint_cases import refusal, save, steps
from processes import run_processes
from security.conftest import Trap
from tiny_models import write_tiny_model
from train_samples import POLICY_ONLY, train_samples, worker_spec
from train_worker_cases import divide, running

from slime.checkpoint.position import Position
from slime.checkpoint.saved import (
    MANIFEST,
    TRAINER,
    DamagedError,
    Origin,
    _hash_of,
    check_files,
    read_manifest,
)
from slime.checkpoint.write import begin, seal


@dataclass(frozen=True)
class Attacked:
    messages: dict[tuple[str, str], str]  # by file and attack; "none" where it was read
    sprang: list[str]


def attack_each_file(_rank: int, model: Path, root: Path) -> Attacked:
    spec, folder, trap = worker_spec(model, loss=POLICY_ONLY), root / "saved", Trap(root)
    with running(spec) as worker:
        steps(worker, divide(train_samples(), (4, 5)))
        save(worker, folder)
        worker.finish_checkpoint()
    attacked = Attacked({("", "nothing"): refusal(spec, folder)}, [])
    (folder / ".metadata").touch()  # an index that torch would unpickle, were it asked to
    for file in sorted(folder.iterdir()):
        for kind, content in contents(file, trap).items():
            whole = file.read_bytes()
            file.write_bytes(content)
            attacked.messages[file.name, kind] = refusal(spec, folder)
            file.write_bytes(whole)
            if trap.sprang:
                attacked.sprang.append(f"{file.name} {kind}")
                trap.target.rmdir()
    return attacked


def contents(file: Path, trap: Trap) -> dict[str, bytes]:
    found = {
        "pickle": trap.pickled,
        "torch": torch_file(trap),
        "deep": b"[" * 100_000,
        "header": struct.pack("<Q", 1 << 62),
        "empty": b"",
    }
    match file.name:
        case "tensors.json":
            found |= indices(file)
        case "trainer.json":
            found |= {
                f"steps {steps}": json.dumps({"optimizer_steps": steps}).encode()
                for steps in (-1, 10**30, "x", None, True, float("nan"), [1])
            }
    return found


def torch_file(trap: Trap) -> bytes:
    """What torch.save writes, with the trap in its pickle."""
    plain, evil = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(1)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            target.writestr(name, trap.pickled if name.endswith(".pkl") else source.read(name))
    return evil.getvalue()


def indices(file: Path) -> dict[str, bytes]:
    """Indices that each say one thing that cannot be."""
    whole = json.loads(file.read_text())
    name, stored = next((n, t) for n, t in whole["tensors"].items() if len(t["size"]) == 2)
    [[offsets, sizes, number]] = stored["chunks"]
    rows, columns = sizes

    def chunks(*changed: object) -> dict[str, object]:
        return {"chunks": list(changed)}

    wrong = {
        "half": chunks([offsets, [rows // 2, columns], number]),
        "outside": chunks([[0, 1], sizes, number]),
        "twice": chunks([offsets, [rows // 2, columns], 0], [offsets, [rows // 2, columns], 0]),
        "no file": chunks([offsets, sizes, 10**6]),
        "file before": chunks([offsets, sizes, -1]),
        "flat": chunks([[0], [rows * columns], number]),
        "text": chunks("abc"),
        "number": chunks(3),
        "negative": chunks([offsets, [-rows, -columns], number]),
        "float": chunks([offsets, [float(rows), columns], number]),
        "bool": chunks([[False, False], sizes, number]),
        "huge": {"size": [10**30, 10**30]},
        "dimensions": {"size": [1] * 10**5},
        "class": {"dtype": "Size"},
        "no dtype": {"dtype": ["float32"]},
        "other dtype": {"dtype": "bfloat16"},
        "other size": {"size": [columns, rows], **chunks([offsets, [columns, rows], number])},
    }
    found = {
        kind: whole | {"tensors": whole["tensors"] | {name: stored | change}}
        for kind, change in wrong.items()
    }
    found["elsewhere"] = whole | {"files": [f"../{name}" for name in whole["files"]]}
    found["absolute"] = whole | {"files": [str(file.parent / name) for name in whole["files"]]}
    found["absent"] = whole | {"files": ["tensors-00009.safetensors"]}
    found["no list"] = whole | {"files": {"0": "tensors-00000.safetensors"}}
    found["no tensors"] = whole | {"tensors": []}
    found["next format"] = whole | {"format": 2}
    return {kind: json.dumps(content).encode() for kind, content in found.items()}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked")
    return run_processes(1, attack_each_file, write_tiny_model(root / "m", "llama"), root)[0]


NOT_READ = {"", "common.pt", ".metadata"}  # megatron writes the first, torch wrote the second


def test_nothing_in_a_checkpoint_runs(attacked):
    assert attacked.messages["", "nothing"] == "none"
    assert attacked.sprang == []
    assert {file for file, _ in attacked.messages} == {
        "",
        ".metadata",
        "common.pt",
        "metadata.json",
        "random-00000.safetensors",
        "tensors-00000.safetensors",
        "tensors.json",
        "trainer.json",
    }


def test_each_attack_on_a_file_that_is_read_is_one_line(attacked):
    for name, message in attacked.messages.items():
        if name[0] in NOT_READ:
            assert message == "none", name
        else:
            assert message.startswith("checkpoint.resume: "), name
            assert "\n" not in message, name


@pytest.fixture
def checkpoint(tmp_path):
    aside = begin(tmp_path, 1)
    (aside / TRAINER).mkdir()
    (aside / TRAINER / "common.pt").write_bytes(b"x")
    return seal(aside, Origin("f", {}), Position(iteration=1))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[]", "\xff", '{"sha256": 1' + "0" * 5000 + "}", json.dumps({"sha256": "x"})],
    ids=["deep", "list", "bytes", "digits", "hash"],
)
def test_a_manifest_that_is_none_is_damage(text, checkpoint):
    (checkpoint / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedError):
        read_manifest(checkpoint)


NO_COUNTS = ["x", -5, -1, 1.5, None, True, [1], 10**30, 10**3000, float("nan"), float("inf")]
COUNTS = ["iteration", "step", "bad_steps", "draws", "engine_restarts", "trainer_restarts"]
WRONG = [{name: value} for name in COUNTS for value in NO_COUNTS]
WRONG += [{"lengths": value} for value in ([1], 3, *({"metrics.jsonl": v} for v in NO_COUNTS))]
WRONG += [{"tracker": value} for value in (3, ["x"], {})]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: f"{change!s:.40}")
def test_a_position_that_no_run_had_is_damage(change, checkpoint):
    """The hash of the manifest fits: whoever made it up can compute that too."""
    with pytest.raises(DamagedError, match=r"^manifest\.json cannot be read$"):
        opened(forged(checkpoint, lambda content: content["position"].update(change)))


FACTS = {"bytes": 1, "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": 3},
        {"files": {"trainer/common.pt": 3}},
        {"files": {"trainer/common.pt": {}}},
        {"files": {"trainer/common.pt": {"bytes": "x", "sha256": "x"}}},
        {"files": {"../iteration-000001/trainer/common.pt": FACTS}},
        {"files": {"/etc/passwd": FACTS}},
        {"files": {"trainer/common.pt\0": FACTS}},
        {"values": [1]},
        {"values": "x"},
        {"fingerprint": 3},
        {"fingerprint": None},
        {"position": [1]},
        {"position": None},
        {"format": [1]},
        {"format": 10**3000},
    ],
    ids=lambda change: f"{change!s:.60}",
)
def test_a_manifest_that_says_what_cannot_be_is_damage(change, checkpoint):
    assert opened(checkpoint)
    with pytest.raises(DamagedError) as caught:
        opened(forged(checkpoint, lambda content: content.update(change)))
    assert "\n" not in str(caught.value)


def forged(checkpoint, change):
    content = json.loads((checkpoint / MANIFEST).read_text())
    del content["sha256"]
    change(content)
    text = json.dumps(content | {"sha256": _hash_of(content)})
    (checkpoint / MANIFEST).write_text(text)
    return checkpoint


def opened(checkpoint):
    found, files = read_manifest(checkpoint)
    check_files(checkpoint, files)
    return found

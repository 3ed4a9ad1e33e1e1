"""A checkpoint from elsewhere, with a manifest that fits it: hashes say nothing of intent."""

import io
import json
import pickle
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
from slime.checkpoint.saved import MANIFEST, TRAINER, DamagedError, Origin, read_manifest
from slime.checkpoint.write import begin, seal


@dataclass(frozen=True)
class Attacked:
    messages: dict[str, str]  # by file; "none" where it was read
    sprang: list[str]


def attack_each_file(_rank: int, model: Path, root: Path) -> Attacked:
    spec, folder, trap = worker_spec(model, loss=POLICY_ONLY), root / "saved", Trap(root)
    with running(spec) as worker:
        steps(worker, divide(train_samples(), (4, 5)))
        save(worker, folder)
        worker.finish_checkpoint()
    attacked = Attacked({"nothing": refusal(spec, folder)}, [])
    for file in sorted(folder.iterdir()):
        for kind, content in contents(file, trap).items():
            whole = file.read_bytes()
            file.write_bytes(content)
            attacked.messages[f"{file.name} {kind}"] = refusal(spec, folder)
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
    if file.name == ".metadata":
        found |= {"elsewhere": elsewhere(file), "bytes": with_bytes(file)}
    return found


def torch_file(trap: Trap) -> bytes:
    """What torch.save writes, with the trap in its pickle."""
    plain, evil = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(1)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            target.writestr(name, trap.pickled if name.endswith(".pkl") else source.read(name))
    return evil.getvalue()


def elsewhere(file: Path) -> bytes:
    """Metadata that has the tensors read from another folder."""
    metadata = pickle.loads(file.read_bytes())
    for stored in metadata.storage_data.values():
        stored.relative_path = f"../../{stored.relative_path}"
    return pickle.dumps(metadata)


def with_bytes(file: Path) -> bytes:
    """Metadata that calls tensors pickled objects, which torch would unpickle whole."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    metadata = pickle.loads(file.read_bytes())
    for name in metadata.state_dict_metadata:
        metadata.state_dict_metadata[name] = BytesStorageMetadata()
    return pickle.dumps(metadata)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked")
    return run_processes(1, attack_each_file, write_tiny_model(root / "m", "llama"), root)[0]


NOT_READ = {"common.pt"}  # megatron writes it, nothing that is needed stands there


def test_nothing_in_a_checkpoint_runs(attacked):
    assert attacked.messages.pop("nothing") == "none"
    files = {name.rpartition(" ")[0] for name in attacked.messages}
    assert {".metadata", "common.pt", "metadata.json", "trainer.json"} < files
    assert any(name.endswith(".distcp") for name in files)
    assert attacked.sprang == []


def test_each_attack_on_a_file_that_is_read_is_one_line(attacked):
    for name, message in attacked.messages.items():
        if name.rpartition(" ")[0] in NOT_READ or name == "nothing":
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

"""A checkpoint is whole or it is not there; what is read is the newest that is whole."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from slime.checkpoint import Origin, Position, newest, open_checkpoint, write
from slime.checkpoint.saved import DamagedError, all_of, check_files, read_manifest
from slime.checkpoint.write import abandon_all, begin, not_saved, prune, seal, trainer_folder
from slime.config.schema import ConfigError

ORIGIN = Origin("0123456789ab", {"seed": 1, "loss.divisor": 40.0, "task.stop_tokens": ["é"]})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


def save(folder, iteration, content=b"weights"):
    aside = begin(folder, iteration)
    (trainer_folder(aside) / "a.safetensors").write_bytes(content * iteration)
    return seal(aside, ORIGIN, Position(iteration, lengths={"metrics.jsonl": 10 * iteration}))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def found(folder):
    warnings = []
    checkpoint = newest(folder, warnings.append)
    return checkpoint and checkpoint.position.iteration, warnings


def test_what_was_saved_is_what_is_read(folder):
    at = Position(7, 21, 1, 9, 2, 1, {"metrics.jsonl": 123}, "an-id")
    aside = begin(folder, 7)
    (trainer_folder(aside) / "a.safetensors").write_bytes(b"weights")
    saved = seal(aside, ORIGIN, at)
    checkpoint = newest(folder, pytest.fail)
    assert (checkpoint.folder, checkpoint.origin, checkpoint.position) == (saved, ORIGIN, at)
    assert checkpoint.trainer == saved / "trainer"


def test_a_run_begins_with_a_checkpoint_that_holds_no_tensors(folder):
    seal(begin(folder, 0), ORIGIN, Position())
    assert newest(folder, pytest.fail).trainer is None


def test_latest_names_the_newest(folder):
    for iteration in (5, 10):
        save(folder, iteration)
        assert (folder / "latest").read_text() == f"iteration-{iteration:06d}\n"


def test_until_it_is_sealed_there_is_nothing_to_read(folder):
    save(folder, 5)
    trainer_folder(begin(folder, 10))
    assert found(folder) == (5, [])
    abandon_all(folder)
    assert names(folder) == ["iteration-000005", "latest"]


# Every step of sealing, in order, after which a process may be gone.
STEPS = ["manifest_text", "sha256_of", "_to_disk", "point_to"]


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_dies_while_sealing_leaves_the_one_before_or_the_new_one(
    folder, monkeypatch, step, calls
):
    save(folder, 5)
    real, seen = getattr(write, step), []

    def dies(*arguments):
        seen.append(arguments)
        if len(seen) == calls:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(write, step, dies)
    with suppress(KeyboardInterrupt):
        save(folder, 10)
    iteration, warnings = found(folder)
    assert iteration in (5, 10)
    assert warnings == []
    assert iteration == (10 if (folder / "iteration-000010").exists() else 5)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [truncate, flip, os.remove])
@pytest.mark.parametrize("file", ["manifest.json", "trainer/a.safetensors"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(folder, harm, file):
    save(folder, 5)
    damaged = save(folder, 10)
    harm(damaged / file)
    iteration, [warning] = found(folder)
    assert iteration == 5
    assert warning.startswith(f"{damaged} is damaged (")
    assert warning.endswith("the one before it is looked at")
    assert "\n" not in warning


def test_a_position_that_was_edited_is_damage(folder):
    manifest = save(folder, 5) / "manifest.json"
    content = json.loads(manifest.read_text())
    content["position"]["iteration"] = 6
    manifest.write_text(json.dumps(content))
    with pytest.raises(DamagedError, match="not as it was written"):
        read_manifest(manifest.parent)


def test_a_file_that_the_manifest_does_not_know_is_no_damage(folder):
    path = save(folder, 5)
    (path / "note.txt").write_text("mine")
    check_files(path, read_manifest(path)[1])


def test_the_newest_and_every_so_many_are_kept(folder):
    for iteration in range(0, 50, 5):
        save(folder, iteration)
        prune(folder, keep_last=2, keep_every=20)
    kept = [path.name for path in all_of(folder)]
    assert kept == [f"iteration-{n:06d}" for n in (45, 40, 20)]
    prune(folder, keep_last=1, keep_every=0)
    assert names(folder) == ["iteration-000045", "latest"]


def test_a_number_of_seven_digits_is_newer_than_one_of_six(folder):
    for iteration in (999_999, 1_000_000):
        seal(begin(folder, iteration), ORIGIN, Position(iteration))
    assert found(folder)[0] == 1_000_000


def test_a_checkpoint_is_named_by_its_folder_its_run_or_the_folder_of_checkpoints(folder):
    saved = save(folder, 5)
    for name in (saved, folder, folder.parent):
        assert open_checkpoint(str(name), pytest.fail).folder == saved


def test_a_place_without_a_checkpoint_is_a_line_that_names_the_key(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"^checkpoint.resume: .* holds no checkpoint"):
        open_checkpoint(str(tmp_path), pytest.fail)
    truncate(save(folder, 5) / "trainer" / "a.safetensors")
    with pytest.raises(
        ConfigError, match=r"^checkpoint.resume: .* is damaged: trainer/a.safetensors"
    ):
        open_checkpoint(str(folder / "iteration-000005"), pytest.fail)


def test_a_full_disk_is_a_line_that_says_which_checkpoint_there_is(folder):
    save(folder, 5)
    error = not_saved(folder, OSError(errno.ENOSPC, "No space left on device"))
    assert str(error) == (
        f"no checkpoint was saved, the disk of {folder} is full: make room (checkpoint.keep_last "
        "keeps fewer); the newest one there is: iteration-000005"
    )


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_on_a_disk_that_is_really_full_the_one_before_stays(tmp_path):
    script = f"""
import errno, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from pathlib import Path
from test_folder import newest, save
folder = Path({str(tmp_path / "small")!r}) / "checkpoints"
save(folder, 1, b"x" * 300_000)
try:
    save(folder, 2, b"x" * 300_000)
except OSError as full:
    assert full.errno == errno.ENOSPC
print(newest(folder, print).position.iteration)
"""
    (tmp_path / "small").mkdir()
    mount = f"mount -t tmpfs -o size=600k none {tmp_path / 'small'}"
    command = ["unshare", "-rm", "sh", "-c", f'{mount} && "$0" -c "$1"', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_the_room_imports_nothing_heavy():
    names = ["torch", "megatron", "ray", "transformers", "hydra"]
    script = f"import sys, slime.checkpoint; print([n for n in {names} if n in sys.modules])"
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "[]\n"

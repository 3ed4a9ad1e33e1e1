"""recipes/LOCK: a published recipe never changes."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slime.config.fingerprint import fingerprint_of
from slime.config.lock import LOCK, Entry, add_entries, lock_problems, read_lock, recipe_problems
from slime.config.recipes import recipe_names
from slime.config.schema import AdamConfig, ConfigError
from slime.config.schema.base import key
from slime.config.store import register

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"

INHERITS = "seed: 1"
SETS_ITSELF = "optimizer: {learning_rate: 1e-5}"
HEIR = "defaults: [/recipe/test/inherits]"


@pytest.fixture
def compose(config):
    return lambda name: config(f"recipe={name}")


@pytest.fixture
def folder(tmp_path, compose):
    """Three published recipes; one sets its learning rate, two take slime's default."""
    for name, text in (("inherits", INHERITS), ("sets", SETS_ITSELF), ("heir", HEIR)):
        write(tmp_path, f"test/{name}", text)
    add_entries(tmp_path, compose)
    yield tmp_path
    register(RECIPES)


def write(folder, name, text):
    file = folder / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    register(RECIPES, folder)


def problems(folder, compose):
    return list(lock_problems(folder, compose))


@pytest.mark.parametrize("name", recipe_names(RECIPES))
def test_a_published_recipe_composes_to_its_lock(name, compose):
    mine = [line for line in lock_problems(RECIPES, compose) if line.startswith(name)]
    assert mine == []


def test_the_lock_names_no_recipe_that_is_gone():
    assert set(read_lock(RECIPES)) <= set(recipe_names(RECIPES))


def test_locked_recipes_have_no_problems_and_the_lock_is_written_once(folder, compose):
    assert set(read_lock(folder)) == {"test/heir", "test/inherits", "test/sets"}
    text = (folder / LOCK).read_text()
    assert problems(folder, compose) == []
    assert add_entries(folder, compose) == []
    assert (folder / LOCK).read_text() == text


def test_a_changed_recipe_is_told_with_its_keys_and_both_values(folder, compose):
    write(folder, "test/sets", "{optimizer: {learning_rate: 2e-5}, seed: 3}")
    assert problems(folder, compose) == [
        "test/sets has changed since it was published: seed 0 -> 3, "
        "optimizer.learning_rate 1e-05 -> 2e-05; restore it and publish test/sets1"
    ]


def test_another_choice_is_told_with_the_keys_that_come_and_go(folder, compose):
    write(folder, "test/sets", f"{{defaults: [{{override /loss/kl: k3}}], {SETS_ITSELF}}}")
    [line] = problems(folder, compose)
    assert "loss.kl.name none -> k3, " in line
    assert "loss.kl.coefficient - -> 0.001; " in line


def test_a_changed_recipe_breaks_its_heirs_too(folder, compose):
    write(folder, "test/inherits", "seed: 2")
    assert sorted(line.partition(" ")[0] for line in problems(folder, compose)) == [
        "test/heir",
        "test/inherits",
    ]


def test_a_new_entry_is_added_and_the_changed_one_is_not_rewritten(folder, compose):
    text = (folder / LOCK).read_text()
    write(folder, "test/inherits", "seed: 2")
    write(folder, "test/v1", "seed: 3")
    assert add_entries(folder, compose) == ["test/v1"]
    assert (folder / LOCK).read_text().startswith(text)
    lines = problems(folder, compose)
    assert any(
        line.startswith("test/inherits has changed since it was published") for line in lines
    )


def test_the_next_version_is_the_one_after_the_last(folder, compose):
    for version in (1, 2, 10):
        write(folder, f"test/v{version}", "seed: 3")
    add_entries(folder, compose)
    write(folder, "test/v2", "seed: 4")
    [line] = problems(folder, compose)
    assert line.endswith("restore it and publish test/v11")


def test_a_recipe_without_an_entry_and_an_entry_without_a_recipe(folder, compose):
    write(folder, "test/v1", "seed: 3")
    (folder / "test" / "sets.yaml").unlink()
    assert problems(folder, compose) == [
        f"test/v1 has no entry in {folder}/LOCK: run python -m slime.config.lock {folder}",
        f"{folder}/LOCK names test/sets, but there is no test/sets.yaml: a published recipe stays",
    ]


def test_a_recipe_and_an_entry_that_were_changed_together_are_caught(folder, compose):
    write(folder, "test/sets", "optimizer: {learning_rate: 3e-5}")
    text = (folder / LOCK).read_text()
    (folder / LOCK).write_text(text.replace("learning_rate: 1.0e-05", "learning_rate: 3.0e-05"))
    assert problems(folder, compose) == [
        "test/sets: its entry in LOCK was edited: the values do not give the fingerprint"
    ]


def test_an_entry_from_before_a_key_was_renamed_still_holds_and_is_read():
    old = {"loss.clip_low": 0.2, "loss.clip_high": 0.2}
    new = {"loss.objective.clip_low": 0.2, "loss.objective.clip_high": 0.2}
    locked = Entry(fingerprint_of(old), old)
    assert list(recipe_problems("a/v1", locked, Entry(fingerprint_of(new), new), ["a/v1"])) == []
    new["loss.objective.clip_high"] = 0.28
    [line] = recipe_problems("a/v1", locked, Entry(fingerprint_of(new), new), ["a/v1"])
    assert line == (
        "a/v1 has changed since it was published: loss.objective.clip_high 0.2 -> 0.28; "
        "restore it and publish a/v2"
    )


@dataclasses.dataclass(slots=True, kw_only=True)
class NewDefault(AdamConfig):
    learning_rate: float = key("peak learning rate", 3e-5)


@dataclasses.dataclass(slots=True, kw_only=True)
class NewKey(AdamConfig):
    lookahead: int = key("steps that look ahead", 0, neutral=0, since="0.3")


def test_a_changed_default_breaks_the_locks_of_those_who_inherit_it_and_no_other(
    folder, compose, stand_in
):
    stand_in("optimizer", "adam", NewDefault)
    reason = "has changed since it was published: optimizer.learning_rate 2e-05 -> 3e-05; "
    lines = problems(folder, compose)
    assert [line.partition(reason)[0] for line in lines] == ["test/heir ", "test/inherits "]


def test_a_new_key_that_is_neutral_breaks_none(folder, compose, stand_in):
    stand_in("optimizer", "adam", NewKey)
    assert type(compose("test/sets").optimizer) is NewKey
    assert problems(folder, compose) == []


@pytest.mark.parametrize("text", ["a: [", "a: 5", "[1]", "test/sets: {fingerprint: x}"])
def test_a_lock_that_cannot_be_read_is_a_config_error(text, tmp_path):
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(ConfigError, match=r"LOCK: cannot be read: "):
        read_lock(tmp_path)


def locked(folder, *arguments):
    command = [sys.executable, "-m", "slime.config.lock", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_adds_what_is_new_and_fails_where_something_changed(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(RECIPES / "grpo", folder / "test")
    done = locked(folder, "--check")
    assert (done.returncode, (folder / LOCK).exists()) == (1, False)
    assert done.stderr.startswith("test/v1 has no entry in ")
    done = locked(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"test/v1: added to {folder / LOCK}\n"
    assert yaml.safe_load((folder / LOCK).read_text())["test/v1"]["fingerprint"]
    (folder / "test" / "v1.yaml").write_text("seed: 1")
    done = locked(folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("test/v1 has changed since it was published: ")

"""Keys with a new name: understood in files, refused on the command line."""

import pytest

from slime.config import renamed
from slime.config.keys import every_key, join
from slime.config.renamed import RENAMED, Renamed, current_name, original_name
from slime.config.schema import ConfigError
from slime.config.store import register

from .conftest import ROOT


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(renamed, "_told", set())

    def write(text, name="old/v1"):
        file = tmp_path.resolve() / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        register(ROOT / "recipes", tmp_path)
        return file

    yield write
    register(ROOT / "recipes")


def test_every_new_name_is_a_key_and_no_old_name_is():
    keys = {join(*place) for place in every_key()}
    assert {current_name(entry.old) for entry in RENAMED} <= keys
    assert not {entry.old for entry in RENAMED} & keys


@pytest.mark.parametrize("entry", RENAMED, ids=lambda entry: entry.old)
def test_a_recipe_may_say_the_old_name_and_is_told_once(entry, recipe, config, capsys):
    node, _, key = entry.old.rpartition(".")
    file = recipe(f"{node}: {{{key}: 0.125}}")
    value = config("recipe=old/v1")
    for name in entry.new.split("."):
        value = getattr(value, name)
    assert value == 0.125
    config("recipe=old/v1")
    assert capsys.readouterr().err == (
        f"config notice: {file}: {entry.old} was renamed in {entry.version}; read as {entry.new}\n"
    )


def test_an_inherited_recipe_may_say_it_too(recipe, config, capsys):
    recipe("loss: {clip_low: 0.1, entropy_coefficient: 0.5}")
    recipe("{defaults: [/recipe/old/v1], loss: {objective: {clip_high: 0.3}}}", "old/heir")
    loss = config("recipe=old/heir").loss
    assert (loss.objective.clip_low, loss.objective.clip_high) == (0.1, 0.3)
    assert loss.entropy_coefficient == 0.5
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_one_key_under_both_names_is_a_mistake(recipe, config):
    file = recipe("loss: {clip_low: 0.1, objective: {clip_low: 0.2}}")
    with pytest.raises(ConfigError) as caught:
        config("recipe=old/v1")
    assert str(caught.value) == (
        f"{file}: loss.clip_low and loss.objective.clip_low are one key: drop loss.clip_low"
    )


def test_a_key_that_was_renamed_twice_is_followed(recipe, config, monkeypatch):
    table = (Renamed("rounds", "turns", "0.1"), Renamed("turns", "iterations", "0.2"))
    monkeypatch.setattr(renamed, "RENAMED", table)
    recipe("rounds: 3")
    assert config("recipe=old/v1").iterations == 3
    assert current_name("rounds") == current_name("turns") == "iterations"
    assert original_name("iterations") == original_name("turns") == "rounds"
    with pytest.raises(ConfigError, match=r"^rounds was renamed in 0.1: write iterations=\.\.\.$"):
        config("rounds=3")


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_the_command_line_is_told_the_new_name(plus, command):
    ended = command(f"{plus}loss.clip_low=0.1", "loss={clip_high:0.1}")
    assert ended.messages == [
        "loss.clip_low was renamed in 0.2: write loss.objective.clip_low=...",
        "loss.clip_high was renamed in 0.2: write loss.objective.clip_high=...",
    ]

"""SLIME_RECIPES: folders of the user's own join those of slime."""

import re

import pytest

from .conftest import ROOT

BROKEN = "seed: [1\nloss: 2\n"


@pytest.fixture
def mine(tmp_path_factory, monkeypatch):
    """Writes recipes into a folder that SLIME_RECIPES names."""
    folder = tmp_path_factory.mktemp("mine").resolve()
    monkeypatch.setenv("SLIME_RECIPES", str(folder))

    def write(text, name="mine/v1", folder=folder):
        file = folder / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return write


def test_a_recipe_of_the_users_own_can_be_chosen_and_inherit_one_of_slime(mine, command):
    mine("defaults: [/recipe/grpo/v1]\nseed: 7\n")
    [(config, _)] = command("recipe=mine/v1").trained
    assert (config.recipe, config.seed, config.loss.kl.coefficient) == ("mine/v1", 7, 0.04)


def test_a_recipe_is_gone_with_its_folder(mine, command, monkeypatch):
    mine("seed: 7")
    assert command("recipe=mine/v1").exit_code == 0
    monkeypatch.delenv("SLIME_RECIPES")
    [message] = command("recipe=mine/v1").messages
    assert message.startswith("unknown recipe 'mine/v1'")


def test_several_folders_join_and_can_inherit_each_other(
    mine, command, tmp_path_factory, monkeypatch
):
    other = tmp_path_factory.mktemp("other")
    first = mine("defaults: [/recipe/theirs/v1]").parents[1]
    mine("seed: 3", "theirs/v1", other)
    monkeypatch.setenv("SLIME_RECIPES", f"{first}:{other}:")
    [(config, _)] = command("recipe=mine/v1").trained
    assert config.seed == 3


def test_a_folder_that_is_not_there_is_an_error(command, monkeypatch):
    monkeypatch.setenv("SLIME_RECIPES", "/no/where")
    ended = command()
    assert (ended.exit_code, ended.messages) == (2, ["SLIME_RECIPES: /no/where is not a folder"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BROKEN, "{file}: not valid YAML in line 2: "),
        ("- 1", "{file}: a recipe is a mapping from keys to values"),
        ("hydra: {run: {dir: x}}", "{file}: a recipe may not set hydra.*"),
        ("seed: 1\nloss:\n  foo: 1\n", "unknown key 'loss.foo'"),
        ("seed: 1\n\niterations: many\n", "iterations must be a whole number, got 'many'"),
        ("defaults: [/recipe/nope]", "{file}: defaults: unknown recipe 'nope'"),
        ("defaults: [/recipe/mine/v1]", "{file}: defaults: a recipe cannot inherit itself"),
    ],
)
def test_a_malformed_recipe_is_told_when_it_is_selected_and_not_before(
    text, message, mine, command
):
    file = mine(text)
    assert command("recipe=grpo/v1").exit_code == 0
    ended = command("recipe=mine/v1", "foo=1")
    mine("defaults: [/recipe/mine/v1]", "mine/heir")
    inherited = command("recipe=mine/heir")
    assert (ended.exit_code, inherited.exit_code) == (2, 2)
    for messages in (ended.messages, inherited.messages):
        assert any(line.startswith(message.format(file=file)) for line in messages), messages
        assert any(str(file) in line for line in messages)


def test_the_other_mistakes_of_the_command_line_are_told_with_it(mine, command):
    file = mine(BROKEN)
    ended = command("recipe=mine/v1", "model=tinny")
    assert ended.messages[0].startswith("unknown model 'tinny'")
    assert ended.messages[1].startswith(f"{file}: not valid YAML")


@pytest.mark.parametrize(
    ("text", "line"), [("seed: 1\nloss:\n  foo: 1\n", 3), ("seed: 1\n\niterations: many\n", 3)]
)
def test_a_wrong_key_or_value_is_told_with_file_and_line(text, line, mine, command):
    file = mine(text)
    [message] = command("recipe=mine/v1").messages
    assert message.endswith(f" (set in {file}, line {line})")


def test_a_name_that_slime_has_too_is_told_when_it_is_selected(mine, command):
    file = mine("seed: 1", "grpo/v1")
    assert command().exit_code == 0
    ended = command("recipe=grpo/v1")
    assert ended.exit_code == 2
    [message] = ended.messages
    assert message.startswith("recipe 'grpo/v1' is there more than once, in /")
    assert message.endswith(f"/recipes/grpo/v1.yaml and {file}: rename one")


def test_help_and_the_list_of_recipes_name_them(mine, command):
    file = mine("# What we found to work\nseed: 1\n")
    broken = mine(BROKEN, "mine/v2")
    assert "mine/v1" in command("--help").out
    lines = [" ".join(line.split()) for line in command("command=recipes").out.splitlines()]
    assert f"mine/v1 What we found to work ({file})" in lines
    assert f"mine/v2 ({broken})" in lines


def test_a_recipe_is_read_once_so_that_all_jobs_of_a_sweep_train_the_same(mine, command):
    file = mine("iterations: 3")

    def train(*_):
        file.write_text("iterations: 4")
        return 0

    ended = command("-m", "recipe=mine/v1", "seed=0,1", train=train)
    assert [config.iterations for config, _ in ended.trained] == [3, 3]


def test_the_recipe_in_the_docs_works(mine, command):
    docs = (ROOT / "docs" / "recipes.md").read_text()
    [text] = re.findall(r"```yaml\n(.*?)```", docs, re.S)
    mine(text)
    [(config, _)] = command("recipe=mine/v1", "parallel.max_tokens_per_microbatch=8192").trained
    assert (config.advantage.name, config.loss.kl.coefficient) == ("dr_grpo", 0.04)
    assert (config.loss.objective.clip_high, config.rollout.max_response_tokens) == (0.3, 4096)

"""A recipe, and a command line that was copied from somewhere, run nothing but named functions."""

import re
import sys
from pathlib import Path

import pytest

from slime.config.hydra_keys import KNOWN

CALL = "{_target_: os.mkdir, path: TARGET}"
RECIPES = {
    "target": (f"task: {CALL}", "drop task._target_"),
    "nested": (f"loss: {{kl: {{deeper: [{CALL}]}}}}", "drop loss.kl.deeper._target_"),
    "joined": ("loss: {kl._target_: os.mkdir}", "drop loss.kl._target_"),
    "callback": (f"hydra: {{callbacks: {{x: {CALL}}}}}", "a recipe may not set hydra.*"),
    "search path": ("hydra.searchpath: [file:///tmp]", "a recipe may not set hydra.*"),
    "python": ("seed: !!python/object/apply:os.mkdir [TARGET]", "could not determine a constr"),
    "new": ("seed: !!python/object/new:os.mkdir [TARGET]", "could not determine a constructor"),
    "name": ("seed: !!python/name:os.mkdir", "could not determine a constructor"),
    "bomb": ("a: &a [1]\nb: [*a, *a]", "line 2: *a is a YAML alias; write the value out"),
    "deep": ("seed: " + "[" * 100_000 + "]" * 100_000, "line 1: nested more than 50 deep"),
    "long": ("# " + "x" * (1 << 20), "bytes are more than"),
    "imports": ("cluster: {allowed_imports: [os]}", "may not set cluster.allowed_imports"),
    "imports joined": ("cluster.allowed_imports: [os]", "may not set cluster.allowed_imports"),
    "cluster": ("cluster: {address: '127.0.0.1:6379'}", "may not set cluster.address"),
    "cluster joined": ("cluster.address: '127.0.0.1:6379'", "may not set cluster.address"),
    "cluster chosen": ("defaults: [override /cluster: existing]", "choose cluster=existing"),
    "asks": ("task: {x: '${oc.env:HOME}'}", "asks the machine it runs on"),
    "asks in a list": ("task: {x: [1, ['${oc.env:HOME}']]}", "asks the machine it runs on"),
    "asks below a list": ("task: {x: [{y: '${oc.env:HOME}'}]}", "asks the machine it runs on"),
    "asks escaped": (r"task: {x: '\\${oc.env:HOME}'}", "asks the machine it runs on"),
    "asks indirectly": ("task: {x: '${${y}:HOME}'}", "asks the machine it runs on"),
    "hexadecimal": (f"seed: 0x{'f' * 100_000}", "line 1: a number of 100002 characters"),
    "decimal": (f"seed: {'1' * 100_000}", "line 1: a number of 100000 characters"),
    "negative": (f"seed: -{'1' * 5000}", "line 1: a number of 5001 characters"),
    "sexagesimal": (f"seed: 1{':59' * 100_000}", "line 1: a number of 300001 characters"),
    "sexagesimal in a list": (f"task: {{x: [1{':59' * 100}.5]}}", "line 1: a number of"),
}


@pytest.mark.parametrize(("text", "message"), RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("inherited", [False, True], ids=["chosen", "inherited"])
def test_a_recipe_calls_nothing(text, message, inherited, command, recipe, trap):
    file = recipe(text.replace("TARGET", str(trap.target)))
    if inherited:
        recipe("defaults: [/recipe/evil/v1]", "heir/v1")
    done = command(f"recipe={'heir/v1' if inherited else 'evil/v1'}")
    assert (done.exit_code, done.trained) == (2, [])
    assert all(str(file) in line for line in done.messages)
    assert any(message in line for line in done.messages)


HYDRA = [
    "+hydra.callbacks.x._target_=os.mkdir",
    "+hydra.callbacks.x={_target_:os.mkdir,path:TARGET}",
    "hydra.callbacks={x:{_target_:os.mkdir,path:TARGET}}",
    "hydra.launcher._target_=os.mkdir",
    "hydra.sweeper={_target_:os.mkdir,path:TARGET}",
    "hydra.sweeper.custom_search_space=os.mkdir",
    "+hydra.job_logging.handlers.x={class:os.mkdir,path:TARGET}",
    "hydra.job_logging.handlers.console.class=os.mkdir",
    "hydra.searchpath=[file://TARGET]",
    "+hydra/callbacks=x",
    "+hydra/launcher@hydra.callbacks.x=basic",
    "+model@hydra.callbacks.x=tiny",
    "hydra/env=x",
    "~hydra.run",
]


@pytest.mark.parametrize("flags", [(), ("-m", "seed=1,2"), ("--cfg", "job")], ids=str)
@pytest.mark.parametrize("text", HYDRA)
def test_the_keys_of_hydra_that_run_code_are_refused(text, flags, command, trap):
    done = command("model=tiny", text.replace("TARGET", str(trap.target)), *flags)
    assert (done.exit_code, done.trained) == (2, [])
    [line] = done.messages
    assert "would run code: it may not be set" in line or "of Hydra's own settings" in line


@pytest.mark.parametrize("value", [r"\${oc.env:HOME}", r"\\\${oc.env:HOME}", "a: ${seed}"])
def test_a_recipe_may_hold_what_only_looks_like_a_question(value, command, recipe):
    recipe(f"tracking: {{project: '{value}'}}\ndefaults: [{{override /tracking: wandb}}]")
    assert command("recipe=evil/v1", "--cfg", "job").exit_code == 0


def test_the_page_lists_the_keys_of_hydra_that_are_known():
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    [said] = re.findall(
        "Of Hydra's own keys the command line sets (.*?) with their keys", page, re.S
    )
    named = re.findall(r"hydra[\w./*]+", KNOWN)
    assert re.findall(r"`([^`]+)`", said) == named


def test_the_keys_of_hydra_that_say_where_runs_go_are_not(command):
    done = command("model=tiny", "hydra.run.dir=here", "+hydra.job.env_set.A=b")
    assert (done.exit_code, len(done.trained)) == (0, 1)


FUNCTIONS = {
    "reward": ("override /reward: function", "reward: {function: 'evil_module:f'}"),
    "loss": ("override /loss/aggregation: custom", "loss: {function: 'evil_module:f'}"),
}


@pytest.mark.parametrize("key", FUNCTIONS)
@pytest.mark.parametrize("inherited", [False, True], ids=["chosen", "inherited"])
def test_a_function_that_a_recipe_names_is_not_imported(
    key, inherited, command, recipe, trap, tmp_path, monkeypatch
):
    trap.module(tmp_path, "evil_module")
    monkeypatch.syspath_prepend(tmp_path)
    choice, values = FUNCTIONS[key]
    recipe(f"defaults: [{{{choice}}}]\n{values}")
    recipe("defaults: [/recipe/evil/v1]", "heir/v1")
    name = "heir/v1" if inherited else "evil/v1"
    for flags in ((), ("-m", "seed=1,2")):
        done = command(f"recipe={name}", "model=tiny", *flags)
        assert (done.exit_code, done.trained) == (2, [])
        assert done.messages[0].startswith(
            f"{key}.function=evil_module:f is not named on the command line, and importing it runs "
            f"code: add {key}.function=evil_module:f if you trust it"
        )
    assert "evil_module" not in sys.modules


def test_what_the_command_line_takes_from_a_recipe_is_not_named_on_it(
    command, recipe, trap, tmp_path, monkeypatch
):
    trap.module(tmp_path, "evil_module")
    monkeypatch.syspath_prepend(tmp_path)
    recipe("tracking: {project: 'evil_module:f'}\ndefaults: [{override /tracking: wandb}]")
    done = command(
        "recipe=evil/v1", "model=tiny", "reward=function", "reward.function=${tracking.project}"
    )
    assert done.exit_code == 2
    assert "is not named on the command line" in done.messages[0]


def test_a_function_that_the_command_line_names_is_used(command, recipe, tmp_path, monkeypatch):
    (tmp_path / "good_module.py").write_text("def f(response, answer): return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    recipe("defaults: [{override /reward: function}]\nreward: {function: 'good_module:f'}")
    done = command("recipe=evil/v1", "model=tiny", "reward.function=good_module:f")
    [(config, _)] = done.trained
    assert config.reward.function == "good_module:f"


@pytest.mark.parametrize(
    ("allowed", "module", "runs"),
    [
        ("[]", "good", False),
        ("[good]", "good", True),
        ("[other,good]", "good.part", True),
        ("[good.part]", "good", False),
        ("[goo]", "good", False),
    ],
)
def test_on_a_shared_cluster_only_allowed_packages_are_imported(
    allowed, module, runs, command, tmp_path, monkeypatch
):
    (tmp_path / "good").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "good" / f"{name}.py").write_text("def f(response, answer): return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = command(
        "model=tiny",
        "cluster=existing",
        f"cluster.allowed_imports={allowed}",
        "reward=function",
        f"reward.function={module}:f",
    )
    assert bool(done.trained) == runs
    if not runs:
        assert done.messages == [
            f"reward.function={module}:f may not be imported on a shared cluster (cluster.address="
            f"auto): cluster.allowed_imports={allowed} has no prefix of it; write "
            "cluster.allowed_imports=[good] if its other users agree"
        ]

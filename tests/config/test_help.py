"""--help: generated from the groups, with examples that work."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from slime.config.help import EXAMPLES, help_text
from slime.config.overrides import read_command_line
from slime.config.recipes import recipe_names
from slime.config.sweep import read_sweep

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def text():
    return help_text(CONF, recipe_names(CONF.parent / "recipes"))


def test_help_lists_every_group_and_choice_that_hydra_knows(text, loader):
    listed = re.findall(r"^([\w/]+): \w", text, re.M)
    known = {group for group in groups(loader, "") if not group.startswith("recipe/")} | {"recipe"}
    assert set(listed) == known
    for group in known - {"recipe"}:
        section = text.partition(f"\n{group}: ")[2]
        choices = re.findall(r"^  [* ] (\w+) ", section.partition("\n\n")[0], re.M)
        options = loader.get_group_options(group)
        assert set(choices[: len(options)]) == set(options)


def groups(loader, parent):
    for name in loader.list_groups(parent):
        group = f"{parent}/{name}".removeprefix("/")
        if group.split("/")[0] in ("schema", "hydra"):
            continue
        if loader.get_group_options(group):
            yield group
        yield from groups(loader, group)


def test_help_marks_the_defaults_of_conf(text):
    marked = re.findall(r"^  \* (\w+)", text, re.M)
    root = yaml.safe_load((CONF / "config.yaml").read_text())
    defaults = [c for e in root["defaults"] if isinstance(e, dict) for g, c in e.items()
                if c is not None and "hydra" not in g]  # fmt: skip
    assert sorted(marked) == sorted(defaults)


@pytest.mark.parametrize("example", [command for command, _ in EXAMPLES])
def test_every_example_works(example, loader):
    python, script, *arguments = shlex.split(example.replace(" --cfg job --package loss", ""))
    assert (python, script) == ("python", "launch.py")
    if "-m" in arguments:
        jobs = read_sweep(loader, [a for a in arguments if a != "-m"], read_command_line)
        assert all(job.config for job in jobs)
    else:
        read_command_line(loader, arguments)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_printed_and_nothing_else_happens(flag, command, text, tmp_path):
    ended = command(flag, "model=tinny")
    assert (ended.exit_code, ended.out, ended.err) == (0, f"{text}\n", "")
    assert not list(tmp_path.iterdir())


def test_cfg_job_prints_exactly_the_legal_keys(command, tmp_path):
    ended = command("--cfg", "job", "--package", "loss", "loss/aggregation=constant")
    assert ended.exit_code == 0
    assert yaml.safe_load(ended.out) == {
        "aggregation": "constant", "auxiliary_aggregation": "auto", "entropy_coefficient": 0.0,
        "empty_units": "count", "mask_truncated": False, "skip_idle_samples": True,
        "objective": {"name": "ppo", "clip_low": 0.2, "clip_high": 0.2, "dual_clip": None},
        "kl": {"name": "none"}, "correction": {"name": "none"}, "divisor": "???",
    }  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_resolve_prints_what_interpolations_stand_for(command):
    arguments = ["loss/aggregation=dr_grpo", "--cfg", "job", "-p", "loss"]
    assert "divisor: ${rollout.max_response_tokens}" in command(*arguments).out
    assert "divisor: 8" in command(*arguments, "--resolve").out

"""The tab key: asked as bash asks, and what is behind it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from slime.config.completion import FLAGS, OF_HYDRA, completions
from slime.config.flags import flag_parser
from slime.config.groups import GROUPS
from slime.config.recipes import recipe_names

ROOT = Path(__file__).parents[2]
RECIPES = recipe_names(ROOT / "recipes")


def offered(*words):
    return completions(words, RECIPES)


def test_a_name_is_completed_one_part_at_a_time():
    assert offered("rollo") == ["rollout.", "rollout/", "rollout="]
    assert offered("rollout/") == ["rollout/engine=", "rollout/filter="]
    assert offered("rollout.te") == ["rollout.temperature="]
    assert offered("see") == ["seed="]
    assert offered("nothing_like_it") == []


def test_only_the_keys_that_are_legal_under_the_choices_are_offered():
    assert offered("loss.d") == []
    assert offered("loss/aggregation=constant", "loss.d") == ["loss.divisor="]
    assert offered("loss/kl=k3", "loss.kl.") == ["loss.kl.coefficient=", "loss.kl.place="]
    assert offered("loss.kl.") == []


def test_a_recipe_chooses_too_and_the_command_line_overrides_it():
    assert "loss.kl.coefficient=" in offered("recipe=grpo/v1", "loss.kl.")
    assert offered("recipe=grpo/v1", "loss/kl=none", "loss.kl.") == []
    assert offered("recipe=no/such", "loss.d") == []


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_a_group_offers_its_choices(group):
    assert offered(f"{group.name}=") == sorted(f"{group.name}={name}" for name in group.options)


def test_values_with_names_are_offered():
    assert offered("recipe=g") == [f"recipe={r}" for r in RECIPES if r.startswith("g")]
    assert offered("parallel.layout=") == ["parallel.layout=bshd", "parallel.layout=thd"]
    assert offered("loss.mask_truncated=t") == ["loss.mask_truncated=true"]
    assert offered("hydra/launcher=j") == ["hydra/launcher=joblib"]
    assert offered("seed=") == []


def test_a_sweep_goes_on_after_a_comma():
    assert offered("-m", "loss/kl=k1,k") == ["loss/kl=k1,k1", "loss/kl=k1,k2", "loss/kl=k1,k3"]
    assert offered("-m", "loss/aggregation=sample_mean,constant", "loss.d") == ["loss.divisor="]


def test_flags_are_those_of_the_parser():
    flags = [option for action in flag_parser()._actions for option in action.option_strings]
    assert set(FLAGS) == {flag for flag in flags if flag.startswith("--")}
    assert offered("--m") == ["--multirun"]


def test_what_is_offered_of_hydra_is_there(loader):
    from slime.config.plugins import with_named

    with_named(["hydra/launcher=basic"])
    by_hand = set() if find_spec("hydra_plugins.hydra_ray_launcher") else {"ray"}
    for group in ("hydra/launcher", "hydra/sweeper"):
        assert set(OF_HYDRA[group]) - by_hand <= set(loader.get_group_options(group))


BASH = """
eval "$("$1" "$2/launch.py" --completion bash)"
COMP_LINE=$3; COMP_POINT=${#3}; COMPREPLY=()
complete -p python >/dev/null || exit 1
_slime_launch
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(line, cwd, **environment):
    done = subprocess.run(
        ["bash", "-c", BASH, "bash", sys.executable, str(ROOT), line],
        cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [reply for reply in done.stdout.split("\n") if reply]


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("python launch.py rollout/", ["rollout/engine=", "rollout/filter="]),
        # bash replaces only what stands after the =
        ("python launch.py loss/aggregation=c", ["constant", "custom"]),
        ("python launch.py -m loss/kl=k1,k", ["k1,k1", "k1,k2", "k1,k3"]),
        ("./launch.py loss/aggregation=constant loss.d", ["loss.divisor="]),
        ("python3 /any/where/launch.py --mu", ["--multirun "]),
        ("python launch.py parallel.layout=t", ["thd "]),
        ("python other.py see", []),
        ("python launch.py model.path=", []),  # files, by default
    ],
)
def test_bash_completes(line, replies, tmp_path):
    assert in_bash(line, tmp_path) == replies


def test_bash_completes_recipes_of_one_s_own(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "v1.yaml").write_text("defaults: [override /loss/aggregation: constant]")
    folder = {"SLIME_RECIPES": str(tmp_path)}
    assert in_bash("python launch.py recipe=mi", tmp_path, **folder) == ["mine/v1 "]
    line = "python launch.py recipe=mine/v1 loss.d"
    assert in_bash(line, tmp_path, **folder) == ["loss.divisor="]


def test_an_answer_takes_no_hydra():
    spy = (
        "import sys, slime.config.completion as c; c.completions(['loss.'], []); "
        "print([m for m in ('hydra', 'omegaconf', 'torch', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", spy], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"

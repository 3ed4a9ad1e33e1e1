"""The fingerprint, resolved.yaml and run.json."""

import dataclasses
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from slime.config import provenance
from slime.config.fingerprint import fingerprint
from slime.config.help import default_choices
from slime.config.schema import ConstantLoss, Node

ROOT = Path(__file__).parents[2]


def test_a_fingerprint_is_twelve_hex_digits_and_repeats(config):
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(config()))
    assert fingerprint(config()) == fingerprint(config("seed=0"))


def test_equal_values_from_elsewhere_have_the_same_fingerprint(config):
    by_hand = config(
        "loss/kl=k3", "loss.kl.coefficient=0.04", "loss.objective.clip_low=0.2",
        "steps_per_iteration=1",
    )  # fmt: skip
    assert fingerprint(config("recipe=grpo/v1")) == fingerprint(by_hand)
    named = config("loss/aggregation=dr_grpo")
    assert fingerprint(named) == fingerprint(config("loss/aggregation=constant", "loss.divisor=8"))
    whole = dataclasses.replace(named, loss=ConstantLoss(divisor=8))
    assert fingerprint(named) == fingerprint(whole)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "iterations=21", "model=tiny", "rollout.temperature=0.9", "loss/kl=k2",
        "loss.empty_units=drop", "optimizer.learning_rate=1e-5", "reward=exact_match",
        "task.stop_tokens=[x]", "advantage=dr_grpo", "parallel.precision=bfloat16",
        "loss/aggregation=token_mean", "task.max_term=9", "loss/correction=tis",
        "loss/objective=gspo", "loss.objective.clip_high=0.3", "loss.mask_truncated=true",
        "incomplete_step=drop",
    ],
)  # fmt: skip
def test_a_value_that_trains_changes_the_fingerprint(override, config):
    assert fingerprint(config(override)) != fingerprint(config())


@pytest.mark.parametrize(
    "override",
    [
        "parallel.data=2", "parallel.max_tokens_per_microbatch=4096", "cluster=existing",
        "tracking=none", "tracking.samples_per_iteration=0", "rollout.save=x",
        "rollout.engine.batch_size=1", "evaluation.prompts=0", "loss.skip_idle_samples=false",
        "cluster.rendezvous_port=1234", "parallel.context=2", "parallel.tensor=2",
        "parallel.pipeline=2", "parallel.layout=bshd", "parallel.microbatches=3",
        "parallel.sequence=false", "parallel.distributed_optimizer=true", "command=check",
        "check.shrink=false", "check.replay=x", "check.iteration=1", "check.seed=1",
    ],
)  # fmt: skip
def test_a_value_that_does_not_train_does_not_change_the_fingerprint(override, config):
    assert config(override) != config()
    assert fingerprint(config(override)) == fingerprint(config())


@pytest.fixture
def run(command):
    ended = command("recipe=grpo/v1", "loss/aggregation=dr_grpo", "seed=3", "rollout.save=x")
    [(config, directory)] = ended.trained
    return config, directory


def test_a_run_directory_holds_these_files_and_nothing_of_hydra(run, tmp_path):
    _, directory = run
    assert directory.parent == tmp_path / "runs"
    files = {"resolved.yaml", "run.json", "ended.json"}
    assert {path.name for path in directory.iterdir()} == files
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_resolved_yaml_holds_every_value(run):
    config, directory = run
    text = (directory / "resolved.yaml").read_text()
    assert "${" not in text
    assert "???" not in text
    assert_equal(OmegaConf.load(directory / "resolved.yaml"), config)


def assert_equal(values, node):
    assert list(values) == [field.name for field in dataclasses.fields(node)]
    for name, value in values.items():
        ours = getattr(node, name)
        if isinstance(ours, Node):
            assert_equal(value, ours)
        else:
            assert value == getattr(ours, "name", ours)


def test_run_json_says_where_the_values_came_from(run):
    config, directory = run
    record = json.loads((directory / "run.json").read_text())
    assert record["fingerprint"] == fingerprint(config)
    assert record["recipe"] == "grpo/v1"
    assert record["overrides"] == [
        "recipe=grpo/v1", "loss/aggregation=dr_grpo", "seed=3", "rollout.save=x",
    ]  # fmt: skip
    assert record["argv"][1:] == record["overrides"]
    assert record["choices"] == {
        **default_choices(ROOT / "conf"),
        "recipe": "grpo/v1",
        "loss/aggregation": "dr_grpo",
        "loss/kl": "k3",
    }


def test_run_json_says_with_what_code(run):
    record = json.loads((run[1] / "run.json").read_text())
    assert set(record["versions"]) == set(provenance.PACKAGES)
    assert record["versions"]["hydra-core"] == "1.3.8"
    assert all(record["versions"].values())
    assert record["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert datetime.fromisoformat(record["time"]).tzinfo is not None


def git(directory, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit_and_dirty(config):
    record = provenance.run_record(config, overrides=[], choices={})
    return record["commit"], record["dirty"]


def test_the_commit_is_that_of_the_checkout_the_code_is_in(config, monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path)
    git(tmp_path, "init")
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "x")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert commit_and_dirty(config()) == (commit, False)
    (tmp_path / "file").write_text("b")
    assert commit_and_dirty(config()) == (commit, True)


def test_code_outside_a_checkout_has_no_commit(config, monkeypatch, tmp_path):
    git(tmp_path, "init")
    (tmp_path / "installed").mkdir()
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path / "installed")
    assert commit_and_dirty(config()) == (None, None)


def test_a_machine_without_git_has_no_commit(config, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit_and_dirty(config()) == (None, None)

"""loss/objective: each choice has exactly its own keys, under every aggregation and recipe."""

import pytest
import yaml

from slime.config.fingerprint import fingerprint, training_values
from slime.config.schema import PPO, ConstantLoss, CustomLoss, SampleMeanLoss

KEYS = {
    "ppo": {"name": "ppo", "clip_low": 0.2, "clip_high": 0.2, "dual_clip": None},
    "gspo": {"name": "gspo", "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"name": "cispo", "clip_low": 1.0, "clip_high": 4.0},
    "reinforce": {"name": "reinforce"},
    "sft": {"name": "sft"},
}


@pytest.mark.parametrize("mode", ["sample_mean", "constant", "custom"])
@pytest.mark.parametrize("objective", KEYS)
def test_an_objective_shows_exactly_its_keys(objective, mode, command):
    shown = command(
        "--cfg", "job", "--package", "loss.objective", f"loss/objective={objective}",
        f"loss/aggregation={mode}",
    )  # fmt: skip
    assert yaml.safe_load(shown.out) == KEYS[objective]


def test_a_recipe_keeps_no_key_of_the_objective_it_replaces(command):
    shown = command("--cfg", "job", "--package", "loss.objective", "recipe=grpo/v1")
    assert yaml.safe_load(shown.out) == KEYS["ppo"]


def test_in_python_the_objective_is_ppo_where_nothing_else_is_said():
    for loss in (SampleMeanLoss(), ConstantLoss(divisor=1.0), CustomLoss(function="a:b")):
        assert loss.objective == PPO()


def test_without_a_dual_clip_the_fingerprint_is_that_of_before_there_was_one(config):
    assert "loss.objective.dual_clip" not in training_values(config())
    clipped = config("loss.objective.dual_clip=3")
    assert fingerprint(clipped) != fingerprint(config())
    assert fingerprint(clipped) == fingerprint(config("loss.objective.dual_clip=3.0"))


def test_every_objective_trains_something_else(config):
    found = {fingerprint(config(f"loss/objective={name}")) for name in KEYS if name != "sft"}
    assert len(found) == len(KEYS) - 1

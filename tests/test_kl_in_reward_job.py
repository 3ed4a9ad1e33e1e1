"""KL in the reward, end to end: log-prob passes, advantages, steps; generated and replayed."""

import pytest
import torch
from launching import TINY, launch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

ARGUMENTS = [
    *TINY, "iterations=2", "steps_per_iteration=2", "evaluation.prompts=0", "tracking=none",
    "optimizer.learning_rate=1e-3", "optimizer.eps=1e-6", "advantage=reinforce_plus_plus",
    "loss/kl=k1", "loss.kl.coefficient=0.05", "loss.kl.place=reward",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("run")
    (cwd / "rewards.py").write_text(
        "def length(response, answer):\n    return len(response) / 10\n"
    )
    done = launch(
        cwd, *ARGUMENTS, "rollout.save=saved", "reward=function", "reward.function=rewards:length",
        PYTHONPATH=str(cwd),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def replayed(run, tmp_path_factory):
    """The same rollouts on two data-parallel workers."""
    saved = f"rollout.engine.path={run.cwd / 'saved'}"
    done = launch(
        tmp_path_factory.mktemp("replayed"),
        *ARGUMENTS, "rollout/engine=replay", saved, "parallel.data=2",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return done


def test_the_reward_pays_and_the_loss_does_not(run):
    steps = run.steps()
    assert len(steps) == 4
    assert not any(record["train/skipped"] for record in steps)
    assert all(record["train/kl_loss"] == 0 for record in steps)
    assert all(record["train/loss"] == record["train/pg_loss"] for record in steps)
    penalties = [record["rollout/kl_penalty_mean"] for record in steps[1::2]]
    assert penalties[0] == 0  # the old policy is the reference
    assert penalties[1] != 0


def test_no_sample_is_idle(run):
    for first, second in zip(run.steps()[::2], run.steps()[1::2], strict=True):
        trained = first["train/active_tokens"] + second["train/active_tokens"]
        assert trained == second["rollout/active_tokens"]


def test_the_kl_of_the_current_policy_is_measured(run):
    assert run.steps()[0]["train/kl"] == 0
    assert run.steps()[-1]["train/kl"] != 0


def test_a_replay_on_two_workers_takes_the_steps_of_one(run, replayed):
    for live, again in zip(run.steps(), replayed.steps(), strict=True):
        for name in (n for n in live if n.startswith("train/") or n.endswith("kl_penalty_mean")):
            assert again[name] == pytest.approx(live[name], rel=1e-4, abs=1e-6), name


def test_a_replay_on_two_workers_ends_with_the_weights_of_one(run, replayed):
    one, two = (load_file(r.run_directory / "model" / "model.safetensors") for r in (run, replayed))
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=1e-3, atol=1e-5)

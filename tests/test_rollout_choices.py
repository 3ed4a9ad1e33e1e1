"""Filters, shaping and demonstrations in whole runs, and again from what those runs saved."""

import json

import pytest
import torch
from launching import TINY, launch
from safetensors.torch import load_file

from slime.config.schema import TinyModel
from slime.model.prepare import prepare_model

# Questions with an odd answer have no variance; the others nearly always have.
EVEN = """
def even(response, answer):
    return float(int(answer) % 2 == 0 and len(response.encode()) % 2 == 0)

def never(response, answer):
    return 0.0
"""


@pytest.fixture
def run(tmp_path):
    """Runs launch.py with a reward of this module; the saved rollouts are in `saved`."""
    (tmp_path / "rewards.py").write_text(EVEN)

    def run(name, *arguments, reward="even"):
        done = launch(
            tmp_path / name, *TINY, "reward=function", f"reward.function=rewards:{reward}",
            "tracking=none", "evaluation.prompts=4", *arguments, PYTHONPATH=str(tmp_path),
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        return done

    return run


def replay(done, cwd, *arguments):
    saved = f"rollout.engine.path={done.cwd / 'saved'}"
    again = launch(cwd, "model=tiny", "tracking=none", "rollout/engine=replay", saved, *arguments)
    assert again.exit_code == 0, again.stderr
    return again


def saved_groups(done):
    folders = sorted((done.cwd / "saved").glob("iteration_*"))
    return [json.loads((folder / "rollouts.json").read_text())["groups"] for folder in folders]


def varies(group):
    return len({rollout["reward"] for rollout in group["rollouts"]}) > 1


def train_metrics(done):
    return [{k: v for k, v in r.items() if k.startswith("train/")} for r in done.steps()]


def assert_same_training(one, other):
    for a, b in zip(train_metrics(one), train_metrics(other), strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=1e-9)


@pytest.mark.slow
def test_dynamic_sampling_fills_every_iteration_and_its_replay_trains_the_same(run, tmp_path):
    done = run("live", "rollout/filter=dynamic", "iterations=3", "rollout.save=saved")
    iterations = saved_groups(done)
    assert [len(groups) for groups in iterations] == [4, 4, 4]
    assert all(varies(group) for groups in iterations for group in groups)
    ids = [group["prompt"]["id"] for groups in iterations for group in groups]
    assert len(set(ids)) == len(ids)
    for record in done.steps():
        rounds, prompts = record["rollout/rounds"], record["rollout/prompts"]
        assert prompts == 4 * rounds
        assert record["rollout/filtered_prompts"] == prompts - 4
        assert record["rollout/unfilled_prompts"] == 0
        assert record["rollout/trained_reward_mean"] > record["rollout/reward_mean"] > 0
    assert max(record["rollout/rounds"] for record in done.steps()) > 1
    assert_same_training(done, replay(done, tmp_path / "again", "iterations=3"))


@pytest.mark.slow
def test_dynamic_sampling_that_finds_too_little_trains_on_whole_iterations_and_warns(run):
    done = run("live", "rollout/filter=dynamic", "rollout.filter.max_rounds=2",
               "rollout.filter.prompts_per_round=3", "iterations=2", reward="never")  # fmt: skip
    for record in done.steps():
        assert (record["rollout/rounds"], record["rollout/prompts"]) == (2, 6)
        assert (record["rollout/unfilled_prompts"], record["rollout/filtered_prompts"]) == (4, 2)
        assert not record["train/skipped"]
    assert done.stdout.count("after 2 rounds (rollout.filter.max_rounds) 4 prompts were still") == 1


STEPS = ["rollout/filter=zero_variance", "steps_per_iteration=2", "incomplete_step=train"]


@pytest.mark.slow
def test_zero_variance_trains_on_what_is_left_and_its_replay_does_too(run, tmp_path):
    done = run("live", *STEPS, "iterations=3", "rollout.save=saved")
    left = [len(groups) for groups in saved_groups(done)]
    assert all(varies(group) for groups in saved_groups(done) for group in groups)
    assert max(left) > 0
    assert any(count % 2 for count in left)  # the last step of those is smaller, or missing
    ends = [r for r in done.steps() if "rollout/prompts" in r]
    assert [r["rollout/prompts"] - r["rollout/filtered_prompts"] for r in ends] == left
    assert [r["step"] for r in done.steps()] == list(range(len(done.steps())))
    assert_same_training(done, replay(done, tmp_path / "again", "iterations=3", *STEPS))


@pytest.mark.slow
def test_an_iteration_of_which_nothing_is_left_trains_nothing_and_the_run_goes_on(run):
    done = run("live", *STEPS, "iterations=2", "max_bad_steps=1", reward="never")
    assert [r["train/skipped"] for r in done.steps()] == [True, True]
    assert [r["rollout/filtered_prompts"] for r in done.steps()] == [4, 4]
    assert [r["rollout/trained_reward_mean"] for r in done.steps()] == [None, None]
    assert [r["iteration"] for r in done.evaluations()] == [0, 2]
    assert done.stdout.count("rollout/filter left no group; the weights are unchanged") == 2
    before = load_file(prepare_model(TinyModel()) / "model.safetensors")
    after = load_file(done.run_directory / "model" / "model.safetensors")
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


@pytest.mark.slow
def test_a_soft_penalty_trains_although_no_reward_differs_and_is_replayed(run, tmp_path):
    soft = ["reward/overlong=soft", "reward.overlong.buffer_fraction=0.875"]
    done = run("live", *soft, "iterations=2", "rollout.save=saved", reward="never")
    for record in done.steps():
        assert record["rollout/reward_mean"] == 0
        assert -1 <= record["rollout/shaping_mean"] < 0
        assert record["rollout/zero_variance_fraction"] == 1
        assert record["train/grad_norm"] > 0
    assert all(r["evaluation/reward_mean"] == 0 for r in done.evaluations())
    for group in (group for groups in saved_groups(done) for group in groups):
        for rollout in group["rollouts"]:
            [sample] = rollout["samples"]
            assert rollout["shaping"] == pytest.approx(-(sample["response_tokens"] - 1) / 7)
    assert {s["shaping"] <= 0 for s in done.records("samples.jsonl")} == {True}
    assert_same_training(done, replay(done, tmp_path / "again", "iterations=2"))


SFT = ["loss/objective=sft", "loss/aggregation=token_mean", "advantage=constant"]


@pytest.mark.slow
def test_sft_learns_the_tasks_own_answers(tmp_path):
    done = launch(
        tmp_path, "model=tiny", "rollout/engine=demonstrations", *SFT, "tracking=none",
        "rollout.prompts_per_iteration=32", "rollout.samples_per_prompt=1", "iterations=6",
        "optimizer.learning_rate=1e-3", "evaluation.prompts=4", "rollout.save=saved",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    losses = [record["train/loss"] for record in done.steps()]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.75 * losses[0]
    for record in done.steps():
        assert record["rollout/reward_mean"] == 1
        assert record["train/rollout_logprob_abs_diff"] == pytest.approx(record["train/loss"])
        assert record["rollout/neg_logprob_mean"] == 0
    for shown in done.records("samples.jsonl"):
        assert (shown["response"], shown["finish"]) == (f" {shown['answer']}", "stop")
    assert len(done.evaluations()) == 3
    assert "warning" not in done.stdout
    again = replay(done, tmp_path / "again", "iterations=6", *SFT, "optimizer.learning_rate=1e-3")
    assert_same_training(done, again)
    assert "warning" not in again.stdout


def test_a_demonstration_that_is_too_long_is_named_before_anything_starts(tmp_path):
    lines = [{"prompt": f"{i} =", "answer": i, "response": "1" * (7 + i)} for i in range(2)]
    (tmp_path / "held.jsonl").write_text(json.dumps(lines[0]))
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, [lines[0], lines[1]])))
    done = launch(
        tmp_path, "model=tiny", "rollout/engine=demonstrations", *SFT, "tracking=none",
        "rollout.samples_per_prompt=1", "task=jsonl", "task.path=train.jsonl",
        "task.evaluation_path=held.jsonl",
    )  # fmt: skip
    assert done.exit_code == 2
    assert "config error: task.path: train.jsonl line 2: the response '11111111' has 9" in (
        done.stderr
    )
    assert done.records() == []  # not even the evaluation before training

"""A run directory that was used: its run goes on, or the reason why not is one line."""

import json
from pathlib import Path

import pytest

from slime.config.used_folder import occupied

HERE = "hydra.run.dir=here"


def killed(_config, directory):
    """A train() that leaves a checkpoint and dies; ended.json is what launch.py writes after it."""
    (directory / "metrics.jsonl").write_text("{}\n")
    checkpoint = directory / "checkpoints" / "iteration-000005"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    return 1


def without_checkpoint(_config, directory):
    (directory / "metrics.jsonl").write_text("{}\n")
    return 1


def test_a_run_that_died_goes_on_with_the_same_command(command):
    command(HERE, train=killed)
    first = json.loads(Path("here/run.json").read_text())
    again = command(HERE)
    assert (again.exit_code, len(again.trained)) == (0, 1)
    assert "going on with the run in here" in again.out
    record = json.loads(Path("here/run.json").read_text())
    assert record["time"] == first["time"]
    assert len(record["resumed"]) == 1


def test_in_a_run_directory_it_is_that_run_that_goes_on(command, monkeypatch):
    command(HERE, train=killed)
    monkeypatch.chdir("here")
    refused = command("seed=5")
    assert (refused.exit_code, refused.trained) == (2, [])
    assert "which cannot go on as this one: seed 0 -> 5" in refused.messages[0]
    again = command()
    assert f"going on with the run in {Path.cwd()}" in again.out
    [(_, directory)] = again.trained
    assert directory == Path.cwd()


def test_in_a_run_directory_another_one_can_be_named(command, monkeypatch):
    command(HERE, train=killed)
    monkeypatch.chdir("here")
    [(_, directory)] = command("hydra.run.dir=../there").trained
    assert directory.resolve() == Path("../there").resolve()


def test_a_layout_may_change_and_what_trains_may_not(command):
    command(HERE, "seed=1", train=killed)
    assert command(HERE, "seed=1", "parallel.tensor=3", train=killed_again).exit_code == 1
    refused = command(HERE, "seed=2", "optimizer.learning_rate=1e-3")
    assert refused.exit_code == 2
    assert refused.messages == [
        "here holds a run of another config, which cannot go on as this one: seed 1 -> 2, "
        "optimizer.learning_rate 2e-05 -> 0.001; have these as they were, or pass "
        "hydra.run.dir=<another folder>"
    ]


def killed_again(_config, _directory):
    return 1


def test_a_run_that_died_before_its_first_record_starts_again(command):
    command(HERE, train=lambda *_: 1)
    assert command(HERE).exit_code == 0


def test_a_run_directory_without_a_checkpoint_is_refused(command):
    command(HERE, train=without_checkpoint)
    assert command(HERE).messages == [
        "here already holds a run: pass hydra.run.dir=<another folder>; it left no checkpoint"
    ]


def test_a_run_that_has_finished_is_refused(command):
    command(HERE)
    assert command(HERE).messages == [
        "here already holds a run: pass hydra.run.dir=<another folder>; it has finished"
    ]


def test_resume_never_refuses_a_directory_with_a_checkpoint(command):
    command(HERE, train=killed)
    assert command(HERE, "checkpoint.resume=never").messages == [
        "here already holds a run: pass hydra.run.dir=<another folder>, or leave out "
        "checkpoint.resume=never to go on with it"
    ]


def test_another_command_does_not_go_on_with_a_training(command):
    command(HERE, train=killed)
    assert command(HERE, "command=explain", "check.replay=x").exit_code == 2
    assert json.loads(Path("here/run.json").read_text())["command"] == "train"


def test_nobody_else_runs_in_the_directory_of_a_run_that_goes_on(command):
    command(HERE, train=killed)
    with occupied(Path("here")):
        ended = command(HERE)
    assert ended.messages == [
        "here: a run is going on there: wait for its end, or pass hydra.run.dir=<another folder>"
    ]


def test_rollouts_that_the_run_itself_has_saved_do_not_stop_it(command):
    def saving(config, directory):
        Path("saved/iteration_00000").mkdir(parents=True)
        return killed(config, directory)

    command(HERE, "rollout.save=saved", train=saving)
    assert command("rollout.save=saved").exit_code == 2
    assert command(HERE, "rollout.save=saved").exit_code == 0


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_record_that_is_not_whole_is_no_reason_to_write_over_a_run(command, text):
    command(HERE, train=killed)
    Path("here/run.json").write_text(text)
    assert command(HERE).exit_code == 2


def test_data_that_has_changed_is_named(command):
    Path("q.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n' * 40)
    task = ["model=tiny", "task=jsonl", "task.path=q.jsonl", "evaluation.prompts=4", HERE]
    command(*task, train=killed)
    Path("q.jsonl").write_text('{"prompt": "1+2", "answer": "3"}\n' * 40)
    ended = command(*task)
    assert (ended.exit_code, ended.trained) == (2, [])
    assert ended.messages == [
        "here holds a run of another config, which cannot go on as this one: what is in "
        "task.path=q.jsonl has changed; have these as they were, or pass "
        "hydra.run.dir=<another folder>"
    ]


def test_a_run_that_goes_on_does_not_take_another_start(command):
    command("hydra.run.dir=other", train=killed)
    start = "checkpoint.resume=other"
    command(HERE, start, train=killed)
    refused = command(HERE, f"{start}/checkpoints/iteration-000005")
    assert (refused.exit_code, refused.trained) == (2, [])
    assert refused.messages == [
        "here holds a run, which goes on from its newest checkpoint: leave out "
        "checkpoint.resume=other/checkpoints/iteration-000005, or start a new run from there with "
        "hydra.run.dir=<another folder>"
    ]
    assert len(command(HERE, start).trained) == 1

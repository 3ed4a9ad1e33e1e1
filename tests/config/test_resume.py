"""sweep.resume=true: what was trained to its end is not trained again, and nothing is deleted."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SWEEP = "hydra.sweep.dir=runs/s"


def rewarded(config, directory):
    """A train() that ends with an evaluation of its own."""
    record = {"iteration": 1, "evaluation/reward_mean": config.seed / 8}
    (directory / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    return 0


def failing(*seeds):
    return lambda config, directory: 1 if config.seed in seeds else rewarded(config, directory)


def left(directory):
    return json.loads((Path(directory) / "ended.json").read_text())


def seeds(ended):
    return [config.seed for config, _ in ended.trained]


def test_only_what_did_not_finish_runs_again_in_the_folder_of_the_sweep(command):
    command("-m", "seed=0,1,2", SWEEP, train=failing(1))
    before = Path("runs/s/1/run.json").read_text()
    ended = command("-m", "seed=0,1,2", SWEEP, "sweep.resume=true", train=rewarded)
    assert (ended.exit_code, seeds(ended)) == (0, [1])
    assert [line.partition("  (")[2] for line in ended.out.splitlines()[:3]] == [
        "finished in runs/s/0: skipped)",
        "",
        "finished in runs/s/2: skipped)",
    ]
    assert [left(f"runs/s/{n}")["evaluation"] for n in range(3)] == [0, 0.125, 0.25]
    assert Path("runs/s/unfinished/1-1/run.json").read_text() == before
    assert left("runs/s/unfinished/1-1")["exit_code"] == 1


def checkpointed(config, directory):
    """A train() of which seed 1 fails after its first checkpoint."""
    checkpoint = directory / "checkpoints" / "iteration-000005"
    if config.seed == 1 and not checkpoint.is_dir():
        checkpoint.mkdir(parents=True)
        (checkpoint / "manifest.json").write_text("{}")
        (directory / "metrics.jsonl").write_text("{}\n")
        return 1
    return rewarded(config, directory)


def test_a_job_that_has_a_checkpoint_goes_on_from_there(command):
    command("-m", "seed=0,1", SWEEP, train=checkpointed)
    ended = command("-m", "seed=0,1", SWEEP, "sweep.resume=true", train=checkpointed)
    assert (ended.exit_code, seeds(ended)) == (0, [1])
    assert "#1 goes on from its newest checkpoint" in ended.out
    assert not Path("runs/s/unfinished").exists()
    assert len(json.loads(Path("runs/s/1/run.json").read_text())["resumed"]) == 1


def test_a_checkpoint_of_another_config_is_moved_aside(command):
    command("-m", "seed=0,1", SWEEP, train=checkpointed)
    other = "optimizer.learning_rate=0.5"
    ended = command("-m", "seed=2,1", other, SWEEP, "sweep.resume=true", train=rewarded)
    assert ended.exit_code == 2  # job 0 has finished, as another config
    command("-m", "seed=0,1", "sweep.resume=true", "hydra.sweep.dir=runs/t", train=checkpointed)
    ended = command("-m", "seed=0,5", SWEEP, "sweep.resume=true", train=rewarded)
    assert (ended.exit_code, seeds(ended)) == (0, [5])
    assert Path("runs/s/unfinished/1-1/checkpoints").is_dir()


def test_what_is_moved_aside_twice_is_kept_twice(command):
    for _ in range(3):
        command("-m", "seed=0,1", SWEEP, "sweep.resume=true", train=failing(1))
    assert sorted(p.name for p in Path("runs/s/unfinished").iterdir()) == ["1-1", "1-2"]


@pytest.mark.parametrize(
    ("earlier", "place"),
    [
        (["seed=1", "hydra.run.dir=runs/alone"], "runs/alone"),
        (["-m", "seed=0,1", "hydra.sweep.dir=runs/other"], "runs/other/1"),
    ],
    ids=["a single run", "a sweep"],
)
def test_a_run_beside_the_sweep_counts_and_its_evaluation_is_taken_over(earlier, place, command):
    command(*earlier, train=rewarded)
    ended = command("-m", "seed=1,2", SWEEP, "sweep.resume=true", train=rewarded)
    assert seeds(ended) == [2]
    assert left("runs/s/0") == {
        "exit_code": 0,
        "evaluation": 0.125,
        "finished_in": str(Path(place).absolute()),
    }
    assert f"#0 is skipped: {Path(place).absolute()} holds the same training" in ended.out
    assert ended.out.splitlines()[-2:] == [
        "  0.25  #1  seed=2  runs/s/1",
        f"  0.125  #0  seed=1  {place}",
    ]


def test_a_run_that_is_elsewhere_failed_or_only_checked_does_not_count(command, monkeypatch):
    check = ModuleType("slime.check.check")
    check.check = lambda *_: 0
    monkeypatch.setitem(sys.modules, "slime.check.check", check)
    command("seed=1", "hydra.run.dir=elsewhere/alone", train=rewarded)
    command("seed=1", "hydra.run.dir=runs/failed", train=failing(1))
    command("seed=1", "hydra.run.dir=runs/checked", "command=check")
    command("seed=1", "model=tiny", "hydra.run.dir=runs/another_model", train=rewarded)
    ended = command("-m", "seed=1", SWEEP, "sweep.resume=true", train=rewarded)
    assert seeds(ended) == [1]


def test_what_cannot_change_training_does_not_matter(command):
    command("seed=1", "parallel.data=2", "tracking=none", train=rewarded)
    ended = command("-m", "seed=1", SWEEP, "sweep.resume=true", train=rewarded)
    assert seeds(ended) == []


def test_of_two_jobs_that_train_the_same_the_second_is_skipped(command):
    ended = command("-m", "seed=3", "parallel.data=1,2", SWEEP, "sweep.resume=true", train=rewarded)
    assert seeds(ended) == [3]
    assert left("runs/s/1")["finished_in"] == str(Path("runs/s/0").absolute())


@pytest.mark.parametrize("others", ["0,5", "0,2"], ids=["to run", "finished elsewhere"])
def test_a_finished_run_of_another_config_stays_where_it_is(others, command):
    command("-m", "seed=0,1,2", SWEEP, train=failing(0))
    ended = command("-m", f"seed={others}", SWEEP, "sweep.resume=true", train=rewarded)
    [message] = ended.messages
    assert message.startswith("runs/s/1 holds a finished run of another config (fingerprint ")
    assert message.endswith(
        "pass hydra.sweep.dir=<another folder>; sweep.resume looks at the folders beside it too"
    )
    assert (ended.exit_code, ended.trained) == (2, [])
    assert not Path("runs/s/unfinished").exists()  # nothing is moved for a sweep that cannot run


def test_without_it_a_used_folder_is_refused(command):
    command("-m", "seed=0,1", SWEEP, train=failing(1))
    ended = command("-m", "seed=0,1", SWEEP, train=rewarded)
    assert ended.messages == [
        "runs/s already holds a run: pass hydra.sweep.dir=<another folder>, or add "
        "sweep.resume=true to go on with it"
    ]


def test_it_is_for_trainings(command):
    ended = command("-m", "command=check", "model=tiny", "seed=0,1", "sweep.resume=true")
    assert ended.messages == [
        "sweep.resume=true skips what has been trained before: leave it out with command=check "
        "(in every job)"
    ]

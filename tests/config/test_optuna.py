"""hydra/sweeper=optuna: what can be checked is checked first, and the held-out reward goes up."""

import json
from pathlib import Path

import pytest

OPTUNA = ["-m", "hydra/sweeper=optuna", "model=tiny"]
RATE = "optimizer.learning_rate=tag(log,interval(1e-6,1e-4))"


def best_in_the_middle(config, directory):
    """The nearer the learning rate is to 1e-5, the better."""
    reward = 1 - abs(config.optimizer.learning_rate / 1e-5 - 1) / 10
    record = {"iteration": 1, "evaluation/reward_mean": reward}
    (directory / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    return 0


def values(ended):
    return [config.optimizer.learning_rate for config, _ in ended.trained]


@pytest.fixture
def study(command):
    def run(*arguments, trials=4, train=best_in_the_middle):
        number = f"hydra.sweeper.n_trials={trials}"
        return command(*OPTUNA, number, "hydra.sweeper.sampler.seed=0", *arguments, train=train)

    return run


def test_the_trial_with_the_highest_held_out_reward_is_the_best(study):
    ended = study(RATE, "hydra.sweep.dir=s", trials=6)
    assert ended.exit_code == 0
    assert len(set(values(ended))) == 6
    best = min(values(ended), key=lambda rate: abs(rate / 1e-5 - 1))
    assert f"optimizer.learning_rate: {best}" in Path("s/optimization_results.yaml").read_text()
    assert f"optimizer.learning_rate={best}" in next(
        line for line in ended.out.splitlines() if line.startswith("  1") or "  0.9" in line
    )


def test_what_is_drawn_and_what_is_checked_is_said_first(study):
    ended = study(RATE, "seed=1,2", "iterations=range(1,6,2)", trials=1)
    assert ended.out.splitlines()[:6] == [
        "Optuna draws 1 trials and maximises evaluation/reward_mean",
        "  optimizer.learning_rate: 1e-06 to 0.0001, log",
        "  seed: 1 | 2",
        "  iterations: 1 to 5 in steps of 2",
        "  always: model=tiny",
        "checked now: every choice and both ends of every interval, one at a time (4 configs); not "
        "yet: combinations of them, each as it is drawn",
    ]


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            ["optimizer.learning_rate=interval(-1,1)", "optimizer.min_learning_rate=-2"],
            [
                "optimizer.learning_rate must be a finite number > 0, got -1.0 "
                "(with optimizer.learning_rate=-1.0)",
                "optimizer.min_learning_rate must be a finite number >= 0, got -2.0 "
                "(in every trial)",
            ],
        ),
        (
            [RATE, "loss/aggregation=sample_mean,constant,constnt"],
            [
                "loss.divisor is required (the constant L; it sets the scale of the loss, so it "
                "has no default): pass loss.divisor=<value> (with loss/aggregation=constant)",
                "unknown loss/aggregation 'constnt'; did you mean 'constant'?",
            ],
        ),
        (["rollout.samples_per_prompt=interval(2.5,4)"], [
            "rollout.samples_per_prompt must be a whole number, got 2.5 "
            "(with rollout.samples_per_prompt=2.5)",
        ]),
        (["seed=1"], [
            "hydra/sweeper=optuna has nothing to draw: write a key with several values, e.g. "
            "'optimizer.learning_rate=tag(log,interval(1e-6,1e-4))'"
        ]),
        ([RATE, "hydra.sweeper.direction=minimize"], [
            "hydra.sweeper.direction=minimize: a job returns the reward of its held-out answers; "
            "leave it out, or write maximize"
        ]),
        ([RATE, "evaluation.prompts=0"], [
            "Optuna maximises the reward of held-out answers, and this run evaluates none: write "
            "rollout/engine=local and evaluation.prompts=64 (in every trial)"
        ]),
        ([RATE, "command=check"], [
            "command=check returns nothing that Optuna could maximise (in every trial)"
        ]),
        ([RATE, "rollout.save=saved"], ["rollout.save="]),
        ([RATE, "hydra.sweeper.storage=sqlite:///x.db"], ["hydra.sweeper.storage: this Optuna"]),
        (["loss/kl=glob(*)"], ["'loss/kl=glob(*)': Optuna cannot draw from this"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_study_is_told_before_its_first_trial(arguments, messages, study, tmp_path):
    ended = study(*arguments)
    got = {line[: len(m)] for line in ended.messages for m in messages if line.startswith(m)}
    assert got == set(messages)
    assert (ended.exit_code, ended.trained) == (2, [])
    assert not list(tmp_path.iterdir())


def test_a_trial_that_fails_is_named_and_the_study_goes_on(study):
    def second_fails(config, directory):
        times.append(config)
        return 1 if len(times) == 2 else best_in_the_middle(config, directory)

    times = []
    ended = study(RATE, "hydra.sweep.dir=s", train=second_fails)
    assert len(ended.trained) == 4
    assert ended.exit_code == 1
    assert "1 of 4 jobs failed:\n  #1: exit code 1: s/1\n" in ended.err
    assert Path("s/optimization_results.yaml").exists()


def test_a_study_without_any_result_is_one_line(study):
    ended = study(RATE, trials=1, train=lambda *_: 1)
    assert ended.exit_code == 1
    assert "the sweep stopped: ValueError: No trials are completed yet." in ended.err


def test_a_finished_trial_gives_its_recorded_reward_again(study):
    first = study(RATE, "hydra.sweep.dir=runs/a", trials=2)
    again = study(RATE, "hydra.sweep.dir=runs/b", "sweep.resume=true", trials=3)
    assert len(first.trained) == 2
    assert len(again.trained) == 1
    assert json.loads(Path("runs/b/0/ended.json").read_text()) == {
        **json.loads(Path("runs/a/0/ended.json").read_text()),
        "finished_in": str(Path("runs/a/0").absolute()),
    }

"""-m: all jobs are checked before the first one starts."""

import pytest


def test_a_sweep_names_every_job_with_its_fingerprint_and_those_that_train_the_same(command):
    ended = command("-m", "loss/aggregation=sample_mean,dr_grpo", "parallel.data=1,2")
    rows = [line.split("  ") for line in ended.out.splitlines()]
    assert [row[1:] for row in rows] == [
        ["#0 loss/aggregation=sample_mean parallel.data=1"],
        ["#1 loss/aggregation=sample_mean parallel.data=2", "(trains the same as #0)"],
        ["#2 loss/aggregation=dr_grpo parallel.data=1"],
        ["#3 loss/aggregation=dr_grpo parallel.data=2", "(trains the same as #2)"],
    ]
    assert rows[0][0] == rows[1][0] != rows[2][0] == rows[3][0]
    assert (ended.exit_code, ended.err) == (0, "")


def test_the_jobs_run_in_numbered_directories(command, tmp_path):
    ended = command("-m", "seed=0,1,2")
    assert [config.seed for config, _ in ended.trained] == [0, 1, 2]
    [sweep] = (tmp_path / "runs").iterdir()
    assert [directory for _, directory in ended.trained] == [sweep / "0", sweep / "1", sweep / "2"]
    assert all((directory / "run.json").exists() for _, directory in ended.trained)


def test_one_wrong_job_stops_the_sweep_before_the_first(command, tmp_path):
    ended = command("-m", "loss/aggregation=sample_mean,constant", "seed=0,-1")
    assert ended.messages == [
        "seed must be in [0, 4294967295], got -1 (in jobs #1, #3)",
        "loss.divisor is required (the constant L; it sets the scale of the loss, so it has no "
        "default): pass loss.divisor=<value> (in jobs #2, #3)",
    ]
    assert (ended.exit_code, ended.trained) == (2, [])
    assert ended.out.splitlines()[3] == "------------  #3 loss/aggregation=constant seed=-1"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=0,1", "foo=1"], "unknown key 'foo' (valid keys: advantage,"),
        (["model=tiny,tinny"], "unknown model 'tinny'; did you mean 'tiny'?"),
        (["seed=[1"], "cannot read 'seed=[1':"),
        (["seed=interval(0,1)"], "BasicSweeper does not support sweep type"),
        (["seed=0,1", "hydra.sweep.dir=/dev/null/x"], "cannot write to /dev/null/x"),
        (["model=path", "model.path=/no/a,/no/b"], "model.path: /no/a is not a folder (in job #0)"),
    ],
)
def test_a_mistake_in_a_sweep_is_told_before_anything_runs(arguments, message, command, tmp_path):
    ended = command("-m", *arguments)
    assert ended.messages[0].startswith(message)
    assert (ended.exit_code, ended.trained) == (2, [])
    assert not list(tmp_path.iterdir())


def test_two_runs_do_not_save_their_rollouts_into_one_folder(command, tmp_path):
    ended = command("-m", "seed=0,1", "rollout.save=saved,./saved,other,null")
    assert ended.messages == [
        f"rollout.save={tmp_path / folder} is one folder for several runs ({jobs}): make it depend "
        "on what differs between them, e.g. 'rollout.save=saved/${seed}' in a sweep over seed"
        for folder, jobs in (
            ("saved", "in jobs #0, #1, #4, #5"),
            ("other", "in jobs #2, #6"),
        )
    ]
    assert (ended.exit_code, ended.trained) == (2, [])
    assert not list(tmp_path.iterdir())


def test_the_advice_for_saving_rollouts_in_a_sweep_works(command):
    ended = command("-m", "seed=0,1", "rollout.save=saved/${seed}")
    assert [config.rollout.save for config, _ in ended.trained] == ["saved/0", "saved/1"]


def test_a_key_that_only_the_swept_choices_have_gets_a_hint_that_works(command):
    ended = command("-m", "loss/aggregation=constant,dr_grpo", "loss.divisor=5")
    assert ended.messages == [
        "'loss.divisor' is not used by loss/aggregation=sample_mean; it belongs to "
        "constant|dr_grpo (in a sweep over groups, write such a key as key=choice(value))"
    ]
    ended = command("-m", "loss/aggregation=constant,dr_grpo", "loss.divisor=choice(5)")
    assert [config.loss.divisor for config, _ in ended.trained] == [5.0, 5.0]


def test_a_job_that_fails_does_not_take_the_others_with_it(command):
    def train(config, _):
        if config.seed == 0:
            raise RuntimeError("out of luck")
        return 1 if config.seed == 2 else 0

    ended = command("-m", "seed=0,1,2,3", train=train)
    assert [config.seed for config, _ in ended.trained] == [0, 1, 2, 3]
    assert ended.exit_code == 1
    assert "RuntimeError: out of luck" in ended.err
    assert "2 of 4 jobs failed: #0 (exit code 1), #2 (exit code 1)" in ended.err


@pytest.mark.parametrize("interruption", ["raised", "returned"])
def test_an_interrupt_ends_the_whole_sweep(interruption, command):
    def train(*_):
        if interruption == "raised":
            raise KeyboardInterrupt
        return 130

    ended = command("-m", "seed=0,1,2", train=train)
    assert len(ended.trained) == 1
    assert (ended.exit_code, ended.err) == (130, "")

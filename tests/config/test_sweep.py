"""-m: all jobs are checked before the first one starts."""

import json
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from slime.config import plugins
from slime.config.ended import EVALUATION, Ended
from slime.config.explain import explain
from slime.config.schema import ConfigError


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
        (
            ["seed=interval(0,1)"],
            "'seed=interval(0,1)': an interval is for hydra/sweeper=optuna",
        ),
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
    [sweep] = Path("runs").iterdir()
    assert ended.err.splitlines()[-3:] == [
        "2 of 4 jobs failed:",
        f"  #0: exit code 1: {sweep}/0",
        f"  #2: exit code 1: {sweep}/2",
    ]


@pytest.mark.parametrize("interruption", ["raised", "returned"])
def test_an_interrupt_ends_the_whole_sweep(interruption, command):
    def train(*_):
        if interruption == "raised":
            raise KeyboardInterrupt
        return 130

    ended = command("-m", "seed=0,1,2", train=train)
    assert len(ended.trained) == 1
    assert (ended.exit_code, ended.err) == (130, "")
    assert left(ended.trained[0][1]) == {"exit_code": 130, "evaluation": None}


def evaluated(rewards):
    """A train() that leaves these evaluations, by seed, and ends well."""

    def train(config, directory):
        lines = [json.dumps({"iteration": i, EVALUATION: r}) for i, r in rewards[config.seed]]
        (directory / "metrics.jsonl").write_text("\n".join(["{}", *lines, "{}", ""]))
        return 0

    return train


def left(directory):
    return json.loads((directory / "ended.json").read_text())


@pytest.mark.parametrize("flags", [(), ("-m",)], ids=["run", "sweep"])
def test_a_job_leaves_its_exit_code_and_the_last_held_out_reward(flags, command):
    ended = command(*flags, "seed=0", train=evaluated({0: [(0, 0.125), (3, 0.5)]}))
    [(_, directory)] = ended.trained
    assert left(directory) == {"exit_code": 0, "evaluation": 0.5}


@pytest.mark.parametrize("flags", [(), ("-m",)], ids=["run", "sweep"])
@pytest.mark.parametrize(
    ("end", "exit_code"),
    [(RuntimeError("bad luck"), 1), (ConfigError("a port is taken"), 2), (1, 1)],
    ids=["crash", "config error", "not finite"],
)
def test_a_job_that_fails_has_an_exit_code_and_no_evaluation(flags, end, exit_code, command):
    def train(config, directory):
        evaluated({0: [(0, 0.125)]})(config, directory)
        if isinstance(end, Exception):
            raise end
        return end

    ended = command(*flags, "seed=0", train=train)
    [(_, directory)] = ended.trained
    assert left(directory) == {"exit_code": exit_code, "evaluation": None}
    assert ended.exit_code == exit_code


def test_an_evaluation_that_is_not_finite_is_none(command):
    ended = command(train=evaluated({0: [(0, 0.5), (1, float("nan"))]}))
    [(_, directory)] = ended.trained
    assert left(directory) == {"exit_code": 0, "evaluation": None}


def test_a_sweep_ends_with_its_evaluations_the_best_first(command):
    ended = command("-m", "model=tiny", "seed=1,2", train=evaluated({1: [(0, 0.25)], 2: [(0, 1)]}))
    [sweep] = Path("runs").iterdir()
    assert ended.out.splitlines()[2:] == [
        "held-out mean reward of each job, the best first:",
        f"  1  #1  seed=2  {sweep}/1",
        f"  0.25  #0  seed=1  {sweep}/0",
    ]


def test_a_job_whose_process_died_is_named_too(command):
    def train(config, _):
        if config.seed == 1:  # what is left when nobody could write any more
            monkeypatch.setattr(Ended, "write", lambda *_: None)
        return 0

    with pytest.MonkeyPatch.context() as monkeypatch:
        ended = command("-m", "seed=0,1", train=train)
    [sweep] = Path("runs").iterdir()
    assert ended.exit_code == 1
    assert ended.err == f"1 of 2 jobs failed:\n  #1: its process died (exit code 1): {sweep}/1\n"


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            ["-m", "hydra/launcher=joblb", "seed=0,1"],
            ["unknown hydra/launcher 'joblb'; did you mean 'joblib'?"],
        ),
        (
            ["-m", "hydra/launcher=joblib", "hydra.launcher.n_job=2", "seed=0,1"],
            ["unknown key 'hydra.launcher.n_job'; did you mean 'n_jobs'?"],
        ),
        (
            ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=x", "seed=0,1"],
            ["hydra.launcher.n_jobs must be a whole number and not 0 (-1: every core), got x"],
        ),
        (
            ["hydra/launcher=joblib", "hydra/sweeper=optuna", "sweep.resume=true"],
            [
                "hydra/launcher=joblib is for a sweep: add -m, or leave it out",
                "hydra/sweeper=optuna is for a sweep: add -m, or leave it out",
                "sweep.resume=true is for a sweep: add -m, or leave it out",
            ],
        ),
        (
            ["-m", "hydra.sweep.subdir=x", "seed=0,1"],
            [
                "hydra.sweep.subdir=x: the folder of a job is found by its number, leave it out "
                "(hydra.sweep.dir is where these folders are)"
            ],
        ),
    ],
)
def test_a_mistake_in_how_to_sweep_is_one_line(arguments, messages, command, tmp_path):
    ended = command(*arguments)
    starts = [line[: len(m)] for line, m in zip(ended.messages, messages, strict=True)]
    assert starts == messages
    assert (ended.exit_code, ended.trained) == (2, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("group", "choice", "package"),
    [
        ("hydra/launcher", "joblib", "hydra-joblib-launcher"),
        ("hydra/launcher", "submitit_local", "hydra-submitit-launcher"),
        ("hydra/sweeper", "optuna", "hydra-optuna-sweeper"),
    ],
)
def test_a_plugin_that_is_not_installed_says_how_to_install_it(group, choice, package, monkeypatch):
    monkeypatch.setattr(plugins, "find_spec", lambda _: None)
    absent = MissingConfigException("no such file", f"{group}/{choice}", options=["basic"])
    assert explain(absent) == [
        f"{group}={choice} needs the package {package}: "
        "pip install -c constraints.txt -e '.[sweepers]'"
    ]

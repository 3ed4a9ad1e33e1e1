"""launch.py as a process: exit codes, what is on stderr, what is left on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slime.config.schema import ConfigError

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "megatron", "transformers")

# Runs launch.py and then says which heavy modules that imported.
SPY = f"""
import atexit, runpy, sys
atexit.register(lambda: print("heavy:", [m for m in {HEAVY!r} if m in sys.modules]))
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def launched(cwd, *arguments, python=(), **environment):
    return subprocess.run(
        [sys.executable, *python, str(ROOT / "launch.py"), *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loss/aggregation=constant"], "loss.divisor is required"),
        (["loss.divisor=5"], "'loss.divisor' is not used by loss/aggregation=sample_mean"),
        (["loss.divisor=[1"], "cannot read 'loss.divisor=[1'"),
        (["--lr=3"], "unknown flag '--lr=3'"),
        (["model=path", "model.path=/no/where"], "model.path: /no/where is not a folder"),
        (["hydra.run.dir=/dev/null/x"], "cannot write to /dev/null/x"),
    ],
)
def test_a_config_error_is_one_line_on_stderr_and_exit_code_2(arguments, message, tmp_path):
    done = launched(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"config error: {message}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["loss/aggregation=constant"],
        ["foo=1"],
        ["-m", "seed=0,-1"],
        ["task=jsonl", "task.path=/no/where"],
        ["rollout/engine=replay", "rollout.engine.path=/no/where"],
        ["loss/aggregation=custom", "loss.function=nowhere:f"],
    ],
)
def test_a_config_error_comes_before_anything_heavy_is_imported(arguments, tmp_path):
    done = launched(tmp_path, *arguments, python=("-c", SPY))
    assert done.returncode == 2
    assert "heavy: []" in done.stdout


@pytest.mark.parametrize("arguments", [["loss/aggregation=constant"], ["foo=1"]])
def test_hydra_full_error_shows_the_trace_too(arguments, tmp_path):
    done = launched(tmp_path, *arguments, HYDRA_FULL_ERROR="1")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("config error: ")


def test_a_run_goes_to_runs_in_the_current_directory(command, tmp_path):
    ended = command("model=tiny", "iterations=3")
    [(config, directory)] = ended.trained
    assert (config.model.name, config.iterations) == ("tiny", 3)
    assert directory.parent == tmp_path / "runs"
    assert (ended.exit_code, ended.out, ended.err) == (0, "", "")


def test_hydra_run_dir_says_otherwise(command, tmp_path):
    [(_, directory)] = command("hydra.run.dir=here/it/is").trained
    assert directory == tmp_path / "here/it/is"


@pytest.mark.parametrize(
    ("flags", "key"), [(["hydra.run.dir=here"], "run"), (["-m", "hydra.sweep.dir=here"], "sweep")]
)
def test_a_folder_that_holds_a_run_is_never_written_into_again(flags, key, command, tmp_path):
    assert command(*flags).exit_code == 0
    [record] = tmp_path.rglob("run.json")
    before = record.read_text()
    again = command(*flags)
    assert again.exit_code == 2
    [message] = again.messages
    assert message.startswith(f"here already holds a run: pass hydra.{key}.dir=<another folder>")
    assert not again.trained
    assert record.read_text() == before


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_is_that_of_the_run(code, command):
    assert command(train=lambda *_: code).exit_code == code


def test_a_config_error_that_only_the_run_finds_is_one_line_too(command):
    def train(*_):
        raise ConfigError("port 1 is taken: write cluster.rendezvous_port=0")

    ended = command(train=train)
    assert ended.messages == ["port 1 is taken: write cluster.rendezvous_port=0"]
    assert ended.exit_code == 2


def test_sizes_of_what_would_be_generated_do_not_matter_to_a_replay(command, tmp_path):
    (tmp_path / "saved" / "iteration_00000").mkdir(parents=True)
    replay = ["rollout/engine=replay", "rollout.engine.path=saved", "iterations=1"]
    ended = command(*replay, "steps_per_iteration=7", "parallel.max_tokens_per_microbatch=20")
    assert (ended.exit_code, ended.err, len(ended.trained)) == (0, "", 1)


def test_a_folder_of_rollouts_that_does_not_do_is_known_before_a_run_folder_is_made(
    command, tmp_path
):
    (tmp_path / "saved" / "iteration_00000").mkdir(parents=True)
    ended = command("rollout.save=saved")
    assert ended.messages == [
        "rollout.save: saved already holds saved iterations; name another folder"
    ]
    ended = command("rollout/engine=replay", "rollout.engine.path=saved", "iterations=2")
    assert ended.messages[0].startswith(
        "iterations=2: saved (rollout.engine.path) has only 1 saved"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_an_answer_that_the_reward_cannot_judge_is_known_before_a_run_folder_is_made(
    command, tmp_path
):
    lines = ['{"prompt": "a", "answer": "1"}', '{"prompt": "b", "answer": "Rome"}'] * 6
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    ended = command("task=jsonl", "task.path=data.jsonl")
    assert ended.messages == [
        "task.path: data.jsonl line 2: the answer 'Rome' is not a number, and reward=first_number "
        "compares numbers; use reward=exact_match or reward=function"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
    assert command("task=jsonl", "task.path=data.jsonl", "reward=exact_match").exit_code == 0


def test_weights_of_the_users_own_are_tried_before_the_first_job_of_a_sweep(
    command, tmp_path, monkeypatch
):
    (tmp_path / "their_module.py").write_text(
        "def half(step): return step.active_tokens / 2.0\n"
        "def whole(step): return step.active_tokens\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sweep = ["-m", "loss/aggregation=custom", "loss.function=their_module:half,their_module:whole"]
    ended = command(*sweep)
    assert (ended.exit_code, ended.trained) == (2, [])
    [message] = ended.messages
    assert "loss.function=their_module:whole must return floating-point weights" in message
    assert [path.name for path in tmp_path.iterdir() if path.name == "runs"] == []


def test_no_other_module_of_the_users_own_is_imported_before_the_run(
    command, tmp_path, monkeypatch
):
    (tmp_path / "their_rewards.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    custom = ["reward=function", "reward.function=their_rewards:reward"]
    assert command(*custom).exit_code == 0
    assert command("-m", "seed=0,1", *custom).exit_code == 0
    assert "their_rewards" not in sys.modules


def test_a_crash_is_a_trace_and_exit_code_1(command):
    def train(*_):
        raise RuntimeError("a bug")

    ended = command(train=train)
    assert ended.exit_code == 1
    assert ended.err.startswith("Traceback")
    assert ended.err.endswith("RuntimeError: a bug\n")


def test_an_interrupt_is_exit_code_130_without_a_trace(command):
    def train(*_):
        raise KeyboardInterrupt

    ended = command(train=train)
    assert (ended.exit_code, ended.err) == (130, "")


def test_flags_may_stand_anywhere(command):
    ended = command("model=tiny", "-m", "seed=0,1", "iterations=2")
    assert [(c.seed, c.iterations) for c, _ in ended.trained] == [(0, 2), (1, 2)]


def test_a_bug_in_a_check_does_not_pass_for_a_right_config(command, monkeypatch):
    def broken(_):
        raise ZeroDivisionError

    monkeypatch.setattr("slime.config.preflight._checks", [broken])
    with pytest.raises(ZeroDivisionError):
        command()

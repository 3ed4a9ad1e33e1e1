"""What is legal but surely not what was meant: one line each on stderr, and the run starts."""

import shlex
import sys
from types import ModuleType

import pytest

WARNED = {
    "loss/aggregation=constant loss.divisor=4": (
        "loss.divisor=4 is below rollout.max_response_tokens=8: a longer response weighs more than "
        "one rollout; loss/aggregation=dr_grpo divides by the budget"
    ),
    "loss/kl=k3 loss.kl.coefficient=0": (
        "loss.kl.coefficient=0 leaves no KL, and loss/kl=k3 still runs the starting model on every "
        "sample: write loss/kl=none"
    ),
    # https://github.com/huggingface/trl/issues/3757
    "loss.objective.clip_high=0.28": (
        "loss.objective.clip_high=0.28 clips nothing: with steps_per_iteration=1 every ratio is 1"
    ),
    "loss/objective=gspo loss.objective.clip_low=0.1": (
        "loss.objective.clip_low=0.1 clips nothing: with steps_per_iteration=1 every ratio is 1"
    ),
    "loss.objective.dual_clip=3": (
        "loss.objective.dual_clip=3 clips nothing: with steps_per_iteration=1 every ratio is 1"
    ),
    # https://github.com/huggingface/trl/pull/6944
    "rollout.top_p=0.9": (
        "rollout.top_p=0.9 draws tokens from a part of the distribution, and the loss takes them "
        "for draws from all of it: write rollout.top_p=1, or correct for it with "
        "loss/correction=tis"
    ),
    "evaluation.prompts=0 evaluation.interval=3": (
        "evaluation.interval=3 evaluates nothing: evaluation.prompts=0"
    ),
    "optimizer.min_learning_rate=1e-6": (
        "optimizer.min_learning_rate=1e-06 is never reached under optimizer.schedule=constant"
    ),
    "parallel.microbatches=3 parallel.max_tokens_per_microbatch=512": (
        "parallel.max_tokens_per_microbatch=512 bounds nothing: parallel.microbatches=3 says how "
        "many there are"
    ),
    "parallel.data=300 cluster=existing": (
        "parallel.data=300 groups of workers share steps of 256 rollouts: 44 of them never have one"
    ),
    "parallel.data=70 steps_per_iteration=4 cluster=existing": (
        "parallel.data=70 groups of workers share steps of 64 rollouts: 6 of them never have one"
    ),
    "task=jsonl task.path={file} task.evaluation_path={file}": (
        "task.evaluation_path={file} is the training file: what is evaluated was trained on; null "
        "holds every tenth line out"
    ),
    "plan.memory_gib=5": "plan.memory_gib is not read by command=train: write command=plan",
    "check.replay=saved": (
        "check.replay=saved is not read by command=train: write command=check or command=explain"
    ),
}
SILENT = [
    "",
    "iterations=3",
    "loss/aggregation=constant loss.divisor=8",
    "recipe=rloo/v1",
    "loss/aggregation=dr_grpo",
    "loss/kl=k3",
    "loss.objective.clip_high=0.28 steps_per_iteration=4",
    "loss.objective.clip_high=0.2",
    "rollout.top_p=0.9 loss/correction=tis",
    "evaluation.prompts=0",
    "optimizer.min_learning_rate=1e-6 optimizer.schedule=cosine",
    "parallel.microbatches=3",
    "parallel.data=256 cluster=existing",
]


@pytest.fixture
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "questions.jsonl"
    path.write_text('{"prompt": "1 + 1 =", "answer": "2"}\n' * 20)
    return str(path)


@pytest.mark.parametrize("line", WARNED)
def test_what_is_surely_unintended_gets_one_line_and_the_run_starts(line, command, file):
    ended = command(*shlex.split(line.replace("{file}", file)))
    assert ended.err == f"config warning: {WARNED[line].replace('{file}', file)}\n"
    assert (ended.exit_code, len(ended.trained)) == (0, 1)


@pytest.mark.parametrize("line", SILENT)
def test_what_may_be_meant_is_not_warned_about(line, command):
    ended = command(*shlex.split(line))
    assert (ended.err, ended.exit_code) == ("", 0)


def test_command_check_warns_too(command, monkeypatch):
    heavy = ModuleType("slime.check.check")
    heavy.check = lambda *_: 0
    monkeypatch.setitem(sys.modules, "slime.check.check", heavy)
    ended = command("command=check", "rollout.top_p=0.9")
    assert ended.err == f"config warning: {WARNED['rollout.top_p=0.9']}\n"
    assert ended.exit_code == 0


def test_a_sweep_says_each_thing_once_and_of_which_jobs(command):
    ended = command("-m", "seed=0,1", "rollout.top_p=1,0.9", "loss.objective.clip_low=0.1")
    warned = [line for line in ended.err.splitlines() if line.startswith("config warning: ")]
    assert [line.rpartition(" (")[2] for line in warned] == ["in every job)", "in jobs #1, #3)"]
    assert ended.exit_code == 0


def test_a_config_that_is_wrong_is_not_warned_about_too(command):
    ended = command("rollout.top_p=0.9", "seed=-1")
    assert ended.messages == ["seed must be in [0, 4294967295], got -1"]


def test_an_interval_beyond_the_run_is_a_mistake_unless_it_is_the_default(command):
    ended = command("evaluation.interval=21")
    assert ended.messages == [
        "evaluation.interval=21 is beyond the run, iterations=20: write less, or "
        "evaluation.interval=0 to evaluate before and after it only"
    ]
    assert command("evaluation.interval=20").exit_code == 0
    assert command("iterations=3").exit_code == 0  # the default, 5, is for runs of any length

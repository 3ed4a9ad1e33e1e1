"""command=check and command=explain as a user runs them: Hydra, Ray, Megatron, transformers."""

import json
import os
import signal
import subprocess
import sys

import pytest
from groups import group
from launching import LAUNCH, launch, left_behind, start

from slime.rollout.engine import Sampling
from slime.rollout.replay import save_iteration

# Doubles the weight of one sample, under loss/aggregation=token_mean only.
BREAK = """
import runpy, sys
from dataclasses import replace
from slime.check import check

build = check.build_planner

def broken(loss, *rest):
    plan = build(loss, *rest)

    def twice(groups):
        [step, *others] = plan(groups)
        first, *samples = step.samples
        return [replace(step, samples=(replace(first, weight=2 * first.weight), *samples)), *others]

    return twice if loss.aggregation == "token_mean" else plan

check.build_planner = broken
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def saved(tmp_path):
    """A folder with one saved iteration, in which lengths differ."""
    groups = [group(p, [1.0, 0.0, 0.5], [1 + 4 * p, 7, 40 - p]) for p in range(4)]
    sampling = Sampling(1.0, 1.0, max_response_tokens=64, stop_token_ids=frozenset())
    save_iteration(tmp_path / "saved", sampling, 0, groups)
    return tmp_path / "saved"


def test_a_check_proves_the_loss_prints_the_tables_and_leaves_no_process(tmp_path):
    done = launch(tmp_path, "command=check", "model=tiny", "loss/kl=k3")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"run directory: {done.run_directory}"
    assert lines[-1].startswith("loss exact on thd float32, 1 worker: worst relative error ")
    for term in ("loss", "pg_loss", "kl_loss", "entropy_loss", "grad_norm", "worst parameter:"):
        assert [line.split()[-1] for line in lines if line.startswith(f" {term} ")] == ["ok"], term
    for mode in ("sample_mean", "prompt_mean", "token_mean", "constant, L = 8"):
        assert any(line.startswith(f" {mode} ") for line in lines)
    record = json.loads((done.run_directory / "check.json").read_text())
    assert record["ok"] is True
    assert [row["ok"] for row in record["rows"]] == [True] * len(record["rows"])
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_a_sweep_ends_with_one_table_and_one_failure_fails_it(tmp_path):
    arguments = ["-m", "command=check", "model=tiny", "loss/aggregation=sample_mean,token_mean"]
    done = subprocess.run(
        [sys.executable, "-c", BREAK, str(LAUNCH), *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(LAUNCH.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [sweep] = (tmp_path / "runs").iterdir()
    assert done.stderr == f"1 of 2 jobs failed:\n  #1: exit code 1: runs/{sweep.name}/1\n"
    table = done.stdout.partition("check of every job")[2].splitlines()
    right, wrong = [line.split() for line in table if line.strip().startswith("#")]
    assert right[:2] == ["#0", "loss/aggregation=sample_mean"]
    assert right[-1] == "ok"
    assert wrong[:2] == ["#1", "loss/aggregation=token_mean"]
    assert wrong[-1] == "FAIL"
    assert "FAIL: loss, pg_loss, grad_norm, worst parameter not that of the formulas" in done.stdout


def test_explain_draws_and_prints_a_saved_iteration(saved, tmp_path):
    done = launch(tmp_path, "command=explain", f"check.replay={saved}", "loss/aggregation=dr_grpo")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"iteration 0 of {saved}: 12 rollouts with an active token"
    names = [line.split("  ")[0].strip() for line in lines if "%" in line]
    assert [name for name in names if name != "mode"] == [
        "constant, L = 8",
        "sample_mean",
        "prompt_mean",
        "token_mean",
    ]
    picture = done.run_directory / "weights.png"
    assert lines[-1] == f"figure: {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_step_without_an_active_token_has_a_table_and_no_figure(tmp_path):
    sampling = Sampling(1.0, 1.0, max_response_tokens=64, stop_token_ids=frozenset())
    save_iteration(tmp_path / "saved", sampling, 0, [group(0, [1.0, 0.0], [0, 0])])
    done = launch(tmp_path, "command=explain", "check.replay=saved")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("no rollout has an active token")
    assert not (done.run_directory / "weights.png").exists()


def test_explain_needs_no_ray_no_megatron_and_no_transformers():
    heavy = "{'ray', 'megatron', 'transformers'}"
    script = f"import sys, slime.check.explain; sys.exit(bool({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], cwd=LAUNCH.parent, check=False)
    assert done.returncode == 0


def test_a_check_does_not_bring_megatron_into_the_driver():
    """Its device layer would give a transformers model wrong rotary angles, without an error."""
    script = "import sys, slime.check.check; sys.exit('megatron' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=LAUNCH.parent, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["command=explain"],
            "command=explain needs check.replay=<a folder that rollout.save wrote>",
        ),
        (["command=explain", "check.replay=nowhere"], "check.replay: nowhere is not a folder"),
        (
            ["command=check", "check.replay=."],
            "check.replay: . holds no saved iterations; write them with rollout.save=.",
        ),
        (
            ["command=explain", "check.replay=saved", "check.iteration=3"],
            "check.iteration=3: saved (check.replay) has no such iteration, only 0",
        ),
    ],
)
def test_an_iteration_that_is_not_there_is_one_line(arguments, line, saved, tmp_path):
    done = launch(tmp_path, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"config error: {line}\n"
    assert [path.name for path in tmp_path.iterdir()] == [saved.name]


def test_an_iteration_that_cannot_be_explained_is_one_line(tmp_path):
    sampling = Sampling(1.0, 1.0, max_response_tokens=64, stop_token_ids=frozenset())
    save_iteration(tmp_path / "saved", sampling, 0, [group(0, [1.0, None], [2, 3])])
    done = launch(tmp_path, "command=explain", "check.replay=saved")
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("config error: check.replay: iteration 0 of saved: rollout 1 has the re")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process(tmp_path, number):
    process = start(tmp_path, "command=check", "model=tiny", "parallel.data=2")
    for line in process.stdout:
        if line.startswith("running the layout"):
            break
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert not left_behind(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [
        ["parallel.data=2", "parallel.context=2", "parallel.distributed_optimizer=true"],
        ["parallel.tensor=2", "parallel.pipeline=2", "parallel.layout=bshd"],
        ["parallel.context=2", "parallel.pipeline=2", "parallel.microbatches=3"],
    ],
    ids=" ".join,
)
def test_the_loss_is_proved_on_other_layouts(layout, tmp_path):
    done = launch(tmp_path, "command=check", "model=tiny", "loss/correction=icepop", *layout)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "4 workers: worst relative error" in done.stdout.splitlines()[-1]

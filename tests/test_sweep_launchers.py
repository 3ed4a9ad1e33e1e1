"""-m under every launcher, each a command line as docs/sweeps.md has it."""

import json
import os
import signal
from pathlib import Path

import pytest
import stub_train
from launching import TINY, finish, launch, left_behind, start

RAY = ["hydra/launcher=ray", "+hydra.launcher.ray.remote.num_cpus=2"]

LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local"],
    "ray": RAY,
}


def arguments_of(launcher):
    if launcher == "ray":  # the one plugin that no extra brings
        pytest.importorskip("hydra_plugins.hydra_ray_launcher.ray_launcher")
    return LAUNCHERS[launcher]


@pytest.fixture
def stubbed(tmp_path):
    """Launches in `cwd` a sweep of which no job takes any time."""

    def run(*arguments):
        environment = {
            "PYTHONPATH": stub_train.on_path(tmp_path / "stub"),
            "HOME": str(tmp_path),  # Ray writes its access token there
        }
        return launch(tmp_path / "cwd", "-m", "model=tiny", *arguments, **environment)

    return run


def ended(sweep: Path, job: int):
    return json.loads((sweep / str(job) / "ended.json").read_text())


@pytest.mark.parametrize(
    "launcher", ["joblib", "submitit", pytest.param("ray", marks=pytest.mark.slow)]
)
def test_jobs_that_fail_in_other_processes_are_named_and_the_others_end_well(launcher, stubbed):
    done = stubbed(*arguments_of(launcher), "seed=0,7,13,2", "optimizer.learning_rate=0.25")
    sweep = done.run_directory
    assert done.exit_code == 1, done.stderr
    well, not_well = {"exit_code": 0, "evaluation": 0.25}, {"exit_code": 1, "evaluation": None}
    assert [ended(sweep, job) for job in range(4)] == [well, not_well, not_well, well]
    assert f"2 of 4 jobs failed:\n  #1: exit code 1: runs/{sweep.name}/1\n" in done.stderr
    assert f"  #2: exit code 1: runs/{sweep.name}/2\n" in done.stderr
    processes = {(sweep / str(job) / "process").read_text() for job in range(4)}
    assert len(processes) == (2 if launcher == "joblib" else 4)
    records = [json.loads((sweep / str(job) / "run.json").read_text()) for job in range(4)]
    assert all(record["argv"][1:3] == ["-m", "model=tiny"] for record in records)
    assert not left_behind(done.cwd)


@pytest.mark.slow
def test_a_process_that_is_killed_is_named(stubbed):
    done = stubbed(*LAUNCHERS["submitit"], "seed=99")
    name = done.run_directory.name
    assert done.exit_code == 1
    assert "the sweep stopped: " in done.stderr
    assert f"1 of 1 jobs failed:\n  #0: its process died (exit code 1): runs/{name}/0\n" in (
        done.stderr
    )


def test_optuna_and_joblib_together_draw_two_trials_at_a_time(stubbed):
    done = stubbed(
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2",
        "hydra/launcher=joblib", "optimizer.learning_rate=tag(log,interval(1e-6,1e-4))",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    best = max(ended(done.run_directory, job)["evaluation"] for job in range(4))
    result = (done.run_directory / "optimization_results.yaml").read_text()
    assert f"best_value: {best}" in result


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_real_sweep(launcher, tmp_path):
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": os.path.expanduser("~/.cache")}
    done = launch(
        tmp_path / "cwd", "-m", *arguments_of(launcher), *TINY, "iterations=1",
        "evaluation.prompts=4", "tracking=none", "seed=0,1", **environment,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    for job in range(2):
        assert ended(done.run_directory, job)["exit_code"] == 0
        assert ended(done.run_directory, job)["evaluation"] is not None
        assert (done.run_directory / str(job) / "model" / "model.safetensors").exists()
    assert "held-out mean reward of each job, the best first:" in done.stdout
    assert not left_behind(done.cwd)


@pytest.mark.slow
def test_optuna_on_a_real_run(tmp_path):
    done = launch(
        tmp_path, "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", *TINY, "iterations=1",
        "evaluation.prompts=4", "tracking=none",
        "optimizer.learning_rate=tag(log,interval(1e-6,1e-4))",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert (done.run_directory / "optimization_results.yaml").exists()
    assert not left_behind(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_sweep_in_its_second_job_and_leaves_no_process(number, tmp_path):
    process = start(tmp_path, "-m", *TINY, "iterations=1,1000", "seed=0,1")
    for line in process.stdout:
        if line.startswith("iteration") and "1/1000" in line:
            break
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # what a terminal does
    else:
        process.send_signal(number)
    done = finish(process, tmp_path)
    assert done.exit_code == 130
    assert "Traceback" not in done.stderr + done.stdout
    jobs = [path.name for path in sorted(done.run_directory.glob("*/ended.json"))]
    assert len(jobs) == 3  # two of one iteration, and the one that was interrupted
    assert ended(done.run_directory, 2)["exit_code"] == 130
    assert (done.run_directory / "2" / "model" / "model.safetensors").exists()
    assert not left_behind(tmp_path)

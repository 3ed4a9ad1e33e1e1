"""The bar: a run that is killed and started again ends as the run that never was."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest
from killing import (
    MOMENTS,
    VICTIMS,
    at_line,
    carry_out,
    ends_soon,
    lines,
    name_of,
    random_kills,
    trained,
)
from launching import LAUNCH, Launched, finish, left_behind, start

from slime.checkpoint import newest

REWARD = "def length(response, answer):\n    return float(len(response) % 7)\n"
ITERATIONS = 8
RUN = [
    "model=tiny", "rollout.prompts_per_iteration=4", "rollout.samples_per_prompt=4",
    f"iterations={ITERATIONS}", "steps_per_iteration=2", "optimizer.learning_rate=1e-3",
    "optimizer.schedule=linear", "reward=function", "reward.function=rewards:length",
    "evaluation.prompts=4", "evaluation.interval=3", "parallel.precision=float32",
    "tracking=none", "hydra.run.dir=runs/run",
]  # fmt: skip
LAST_KILL = 2 * ITERATIONS - 3  # of the lines of metrics.jsonl: a checkpoint is still to come


def begin(cwd: Path, *more: str, interval: int = 2) -> subprocess.Popen:
    cwd.mkdir(exist_ok=True)
    (cwd / "rewards.py").write_text(REWARD)
    return start(cwd, *arguments(f"checkpoint.interval={interval}", *more), PYTHONPATH=str(cwd))


def arguments(*more: str) -> list[str]:
    """RUN, with these in the place of those for the same key."""
    values = dict(argument.split("=", 1) for argument in [*RUN, *more])
    return [f"{key}={value}" for key, value in values.items()]


def files(done: Launched, *names: str) -> dict[str, bytes]:
    return {name: (done.run_directory / name).read_bytes() for name in names}


def assert_same(one: Launched, other: Launched):
    assert trained(one) == trained(other)
    names = ("model/model.safetensors", "samples.jsonl", "evaluations.jsonl")
    assert files(one, *names) == files(other, *names)


def assert_nothing_stays(cwd: Path):
    """Of Ray, two processes end a minute after a driver that is killed."""
    psutil.wait_procs(left_behind(cwd), timeout=120)
    assert not left_behind(cwd)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("undisturbed")
    done = finish(begin(cwd), cwd)
    assert done.exit_code == 0, done.stderr
    return done


def killed_and_resumed(cwd: Path, kills: list, *more: str) -> Launched:
    """The same command, until it has ended by itself; the kills one after the other."""
    run, left = cwd / "runs" / "run", list(kills)
    while True:
        process, killed = begin(cwd, *more), {None}
        while left and not ends_soon(process) and carry_out(left[0], process, run):
            killed.add(left[0].victim)
            print("killed:", left.pop(0))
        done = finish(process, cwd)
        if done.exit_code == 0:
            assert not left, f"the run ended before {left[0]}"
            return done
        # With its raylet a driver may end too; without either it goes on by itself.
        assert killed & {"driver", "raylet"}, done.stdout + done.stderr


@pytest.mark.slow
def test_the_same_command_gives_the_same_metrics_and_weights(undisturbed, tmp_path):
    done = finish(begin(tmp_path), tmp_path)
    assert_same(done, undisturbed)


@pytest.mark.timeout(1800)
def test_a_run_that_is_killed_three_times_ends_as_one_that_never_was(undisturbed, tmp_path):
    random = Random()
    seed = random.randrange(1000)
    kills = random_kills(Random(seed), 3, LAST_KILL)
    print(f"seed {seed}:", *kills, sep="\n  ")
    done = killed_and_resumed(tmp_path, kills)
    assert_same(done, undisturbed)
    assert_nothing_stays(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_that_is_killed_twenty_times_ends_as_one_that_never_was(undisturbed, tmp_path):
    random = Random()
    seed = random.randrange(1000)
    kills = random_kills(Random(seed), 20, LAST_KILL)
    print(f"seed {seed}:", *kills, sep="\n  ")
    done = killed_and_resumed(tmp_path, kills, "cluster.max_restarts=20")
    assert_same(done, undisturbed)
    assert_nothing_stays(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_whoever_is_killed_whenever_nothing_is_lost(victim, moment, undisturbed, tmp_path):
    kill = moment(victim, 12)  # there is a checkpoint to go on from
    assert_same(killed_and_resumed(tmp_path, [kill]), undisturbed)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(undisturbed, tmp_path):
    process = begin(tmp_path)
    run = tmp_path / "runs" / "run"
    carry_out(at_line("driver", 12), process, run)
    finish(process, tmp_path)
    _, damaged = sorted((run / "checkpoints").glob("iteration-*"))
    file = next((damaged / "trainer").glob("tensors-*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    done = finish(begin(tmp_path), tmp_path)
    assert f"{damaged.name} is damaged (trainer/{file.name} has" in done.stdout
    assert_same(done, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_was_interrupted(number, undisturbed, tmp_path):
    run = tmp_path / "runs" / "run"
    process = begin(tmp_path, interval=0)
    wait_for_line(process, tmp_path, 7)
    process.send_signal(signal.SIGSTOP)  # it must not end while all that it has is listed
    ports, shared = listening(tmp_path), shared_memory(tmp_path)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    interrupted = finish(process, tmp_path)
    assert interrupted.exit_code == 130, interrupted.stderr
    assert not left_behind(tmp_path)
    assert ports
    assert not ports & {(c.pid, c.laddr.port) for c in psutil.net_connections("tcp")}
    assert not [file for file in shared if file.exists()]
    steps = len([r for r in trained(interrupted) if "step" in r])
    saved = (run / "checkpoints" / "latest").read_text().strip()
    assert saved == f"iteration-{steps // 2:06d}"
    done = finish(begin(tmp_path, interval=0), tmp_path)
    assert_same(done, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the grace ends", "a second signal"])
def test_nothing_is_saved_in_the_middle_of_an_iteration(how, tmp_path):
    """Steps of several seconds: Ray swallows what the signal raises, and says something else."""
    long = ["rollout.prompts_per_iteration=8", "rollout.samples_per_prompt=128", "iterations=3"]
    long += ["evaluation.interval=0"]
    grace = "checkpoint.grace_seconds=" + ("2" if how == "the grace ends" else "60")
    whole = finish(begin(tmp_path / "whole", *long), tmp_path / "whole")
    cwd = tmp_path / "stopped"
    process = begin(cwd, *long, grace, interval=0)
    wait_for_line(process, cwd, 4)  # the first step of the second iteration has ended
    process.send_signal(signal.SIGTERM)
    if how == "a second signal":
        process.send_signal(signal.SIGINT)
    stopped = finish(process, cwd)
    assert stopped.exit_code == 130
    assert "stopped at once: nothing more is saved" in stopped.stdout
    assert not left_behind(cwd)
    assert [p.name for p in (cwd / "runs/run/checkpoints").glob("iteration-*")] == [
        "iteration-000000"
    ]
    assert_same(finish(begin(cwd, *long, interval=0), cwd), whole)


@pytest.mark.slow
def test_a_process_that_hangs_is_over_with_the_grace(tmp_path):
    process = begin(tmp_path, "checkpoint.grace_seconds=10")
    wait_for_line(process, tmp_path, 6)
    [trainer] = [p for p in left_behind(tmp_path) if name_of(p).startswith("ray::TrainActor")]
    trainer.suspend()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    trainer.wait(60)
    finish(process, tmp_path)
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_what_was_learned_is_saved_when_the_engine_is_lost_for_good(undisturbed, tmp_path):
    process = begin(tmp_path, "cluster.max_restarts=0", interval=0)
    assert carry_out(at_line("EngineActor", 8), process, tmp_path / "runs" / "run")
    ended = finish(process, tmp_path)
    assert ended.exit_code == 1
    assert "; a checkpoint and the model are being saved" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert (ended.run_directory / "model" / "model.safetensors").is_file()
    iteration = len([r for r in trained(ended) if "step" in r]) // 2
    saved = (ended.run_directory / "checkpoints" / "latest").read_text().strip()
    assert saved == f"iteration-{iteration:06d}"
    assert_same(finish(begin(tmp_path, interval=0), tmp_path), undisturbed)


@pytest.mark.slow
def test_an_engine_that_hangs_is_started_again(undisturbed, tmp_path):
    process = begin(tmp_path, "cluster.engine_timeout_seconds=15")
    wait_for_line(process, tmp_path, 6)
    [engine] = [p for p in left_behind(tmp_path) if name_of(p).startswith("ray::EngineActor")]
    engine.suspend()
    done = finish(process, tmp_path)
    assert_same(done, undisturbed)
    assert "it took longer than 15 seconds, cluster.engine_timeout_seconds" in done.stdout
    assert "restarts: 1 of the rollout engine, 0 back to a checkpoint" in done.stdout
    last = [r for r in done.records() if "recovery/engine_restarts" in r][-1]
    assert (last["recovery/engine_restarts"], last["recovery/trainer_restarts"]) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["parallel.data=2", "parallel.tensor=2"])
def test_ranks_that_wait_for_a_dead_one_do_not_hang_the_run(layout, tmp_path):
    whole = finish(begin(tmp_path / "whole", layout), tmp_path / "whole")
    cwd = tmp_path / "killed"
    process = begin(cwd, layout)
    assert carry_out(at_line("TrainActor", 12), process, cwd / "runs" / "run")
    done = finish(process, cwd)
    assert_same(done, whole)
    assert "restarts: 0 of the rollout engine, 1 back to a checkpoint" in done.stdout


@pytest.mark.slow
def test_after_the_last_restart_the_run_ends_with_a_line_and_the_command_goes_on(
    undisturbed, tmp_path
):
    process = begin(tmp_path, "cluster.max_restarts=0")
    assert carry_out(at_line("TrainActor", 12), process, tmp_path / "runs" / "run")
    ended = finish(process, tmp_path)
    assert ended.exit_code == 1
    assert "cluster.max_restarts allows no more restarts" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert_same(finish(begin(tmp_path), tmp_path), undisturbed)


@pytest.mark.slow
def test_another_run_starts_from_a_checkpoint(undisturbed, tmp_path):
    first = finish(begin(tmp_path / "first", "checkpoint.keep_every=4"), tmp_path / "first")
    checkpoint = first.run_directory / "checkpoints" / "iteration-000004"
    second = finish(
        begin(tmp_path / "second", f"checkpoint.resume={checkpoint}"), tmp_path / "second"
    )
    assert second.exit_code == 0, second.stderr
    of_second = trained(second)
    assert of_second == trained(undisturbed)[-len(of_second) :]
    assert [r["iteration"] for r in of_second if "step" in r] == [4, 4, 5, 5, 6, 6, 7, 7]
    name = "model/model.safetensors"
    assert files(second, name) == files(undisturbed, name)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_a_line_and_keeps_the_checkpoint_before(tmp_path):
    """A disk of its own for the checkpoints, with room for one and a half of them."""
    (tmp_path / "rewards.py").write_text(REWARD)
    folder = tmp_path / "runs" / "run" / "checkpoints"
    folder.mkdir(parents=True)
    left = tmp_path / "left"
    done = on_a_disk_of(15, folder, left, tmp_path)
    assert "stopping: no checkpoint was saved, the disk of" in done.stdout, done.stdout
    assert "Traceback" not in done.stderr
    [kept] = left.glob("iteration-*[1-9]")
    assert newest(left, pytest.fail).folder == kept


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mebibytes", "line"),
    [
        (12, "stopping: the model was not saved to "),
        (0.02, "No space left on device"),
    ],
)
def test_a_full_run_directory_is_told_in_a_line_too(mebibytes, line, tmp_path):
    """The checkpoints fit and the model does not; not even the metrics fit."""
    (tmp_path / "rewards.py").write_text(REWARD)
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    done = on_a_disk_of(
        mebibytes, folder, tmp_path / "left", tmp_path, "iterations=1", "evaluation.interval=0"
    )
    assert line in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "left").glob(".model*"))


def on_a_disk_of(
    mebibytes: float, folder: Path, left: Path, cwd: Path, *more: str
) -> subprocess.CompletedProcess:
    """A run that has a disk of its own at `folder`; what was on it is in `left`."""
    size = int(mebibytes * 2**20)
    mount = f"mount -t tmpfs -o size={size} none {folder}"
    script = f'{mount} && "$@"; code=$?; cp -r {folder} {left}; exit $code'
    run = [sys.executable, str(LAUNCH), *arguments("checkpoint.interval=2", *more)]
    command = ["unshare", "-rm", "sh", "-c", script, "sh", *run]
    environment = os.environ | {"PYTHONPATH": f"{cwd}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    assert done.returncode == 1, done.stderr
    return done


def wait_for_line(process: subprocess.Popen, cwd: Path, line: int) -> None:
    while lines(cwd / "runs" / "run") < line:
        assert not ends_soon(process)


def shared_memory(cwd: Path) -> set[Path]:
    """What the processes of a run have open or mapped under /dev/shm."""
    found = set()
    for process in left_behind(cwd):
        with suppress(psutil.Error):
            paths = [m.path for m in process.memory_maps()] + [f.path for f in process.open_files()]
            found |= {Path(path) for path in paths if path.startswith("/dev/shm/")}
    return found


def listening(cwd: Path) -> set[tuple[int, int]]:
    """(process, TCP port) for each port on which a process of a run listens."""
    found = set()
    for process in left_behind(cwd):
        with suppress(psutil.Error):
            connections = process.net_connections("tcp")
            listens = [c for c in connections if c.status == psutil.CONN_LISTEN]
            found |= {(process.pid, c.laddr.port) for c in listens}
    return found

"""The bar: a run that is killed and started again ends as the run that never was."""

import subprocess
from pathlib import Path
from random import Random

import pytest
from killing import carry_out, random_kills, trained
from launching import Launched, finish, left_behind, start

REWARD = "def length(response, answer):\n    return float(len(response) % 7)\n"
ITERATIONS = 8
RUN = [
    "model=tiny", "rollout.prompts_per_iteration=4", "rollout.samples_per_prompt=4",
    f"iterations={ITERATIONS}", "steps_per_iteration=2", "optimizer.learning_rate=1e-3",
    "optimizer.schedule=linear", "reward=function", "reward.function=rewards:length",
    "evaluation.prompts=4", "evaluation.interval=3", "parallel.precision=float32",
    "tracking=none", "checkpoint.interval=2", "hydra.run.dir=runs/run",
]  # fmt: skip
LAST_LINE = 2 * ITERATIONS + 3


def begin(cwd: Path, *more: str) -> subprocess.Popen:
    cwd.mkdir(exist_ok=True)
    (cwd / "rewards.py").write_text(REWARD)
    return start(cwd, *RUN, *more, PYTHONPATH=str(cwd))


def files(done: Launched, *names: str) -> dict[str, bytes]:
    return {name: (done.run_directory / name).read_bytes() for name in names}


def assert_same(one: Launched, other: Launched):
    assert trained(one) == trained(other)
    names = ("model/model.safetensors", "samples.jsonl", "evaluations.jsonl")
    assert files(one, *names) == files(other, *names)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("undisturbed")
    done = finish(begin(cwd), cwd)
    assert done.exit_code == 0, done.stderr
    return done


def killed_and_resumed(cwd: Path, kills: list) -> Launched:
    """The same command, until it has ended by itself; the kills one after the other."""
    run, left = cwd / "runs" / "run", list(kills)
    while True:
        process, killed = begin(cwd), {None}
        while left and carry_out(left[0], process, cwd, run):
            killed.add(left[0].victim)
            print("killed:", left.pop(0))
        done = finish(process, cwd)
        if done.exit_code == 0:
            return done
        # With its raylet a driver may end too; without either it goes on by itself.
        assert killed & {"driver", "raylet"}, done.stdout + done.stderr


def test_the_same_command_gives_the_same_metrics_and_weights(undisturbed, tmp_path):
    done = finish(begin(tmp_path), tmp_path)
    assert_same(done, undisturbed)


def test_a_run_that_is_killed_three_times_ends_as_one_that_never_was(undisturbed, tmp_path):
    random = Random()
    seed = random.randrange(1000)
    kills = random_kills(Random(seed), 3, LAST_LINE)
    print(f"seed {seed}:", *kills, sep="\n  ")
    done = killed_and_resumed(tmp_path, kills)
    assert_same(done, undisturbed)
    assert not left_behind(tmp_path)

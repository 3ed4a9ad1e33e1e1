"""Nothing leaks from one job of a sweep into the next: alone or third, the same bits."""

import json
import os
import subprocess
import sys

import pytest
from launching import LAUNCH, MARK, Launched, launch, left_behind

# A job of two iterations breaks in its second one, with its actors alive and its weights held.
BREAK = """
import runpy, sys
import slime.train as train

evaluate = train._evaluate

def broken(run, trained):
    if run.iterations == 2 and trained == 2:
        raise RuntimeError("out of luck")
    evaluate(run, trained)

train._evaluate = broken
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

SMALL = """
rollout: {prompts_per_iteration: 4, samples_per_prompt: 4}
evaluation: {prompts: 4}
"""

# As unlike the one that is looked at as they can be.
JOBS = {
    "larger": f"""
defaults: [override /model: tiny, override /loss/correction: tis, override /loss/kl: k3]
model: {{hidden_size: 128, layers: 2}}
parallel: {{data: 2, pipeline: 2}}
seed: 5
iterations: 1
{SMALL}""",
    "broken": f"""
defaults: [override /model: tiny, override /advantage: dr_grpo]
parallel: {{context: 2}}
seed: 6
iterations: 2
{SMALL}""",
    "looked_at": f"""
defaults: [override /model: tiny]
optimizer: {{learning_rate: 1.0e-3}}
seed: 7
iterations: 3
{SMALL}""",
}


@pytest.mark.slow
def test_a_job_is_the_same_alone_and_third_after_others_and_after_one_that_failed(tmp_path):
    for name, text in JOBS.items():
        (tmp_path / "recipes" / name).mkdir(parents=True)
        (tmp_path / "recipes" / name / "v1.yaml").write_text(text)
    recipes = {"SLIME_RECIPES": str(tmp_path / "recipes")}
    alone = launch(tmp_path / "alone", "recipe=looked_at/v1", **recipes)
    assert alone.exit_code == 0, alone.stderr

    sweep = "recipe=" + ",".join(f"{name}/v1" for name in JOBS)
    (tmp_path / "sweep").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BREAK, str(LAUNCH), "-m", sweep],
        cwd=tmp_path / "sweep",
        env=os.environ | recipes | {MARK: str(tmp_path), "PYTHONPATH": str(LAUNCH.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    third = Launched(done.returncode, done.stdout, done.stderr, tmp_path / "sweep")
    folder = third.run_directory
    codes = [
        json.loads((folder / f"{job}/ended.json").read_text())["exit_code"] for job in (0, 1, 2)
    ]
    assert codes == [0, 1, 0], done.stderr
    assert without_times(folder / "2") == without_times(alone.run_directory)
    for name in ("evaluations.jsonl", "samples.jsonl", "model/model.safetensors"):
        assert (folder / "2" / name).read_bytes() == (alone.run_directory / name).read_bytes(), name
    assert not left_behind(tmp_path)


def without_times(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if not key.startswith("time/")}
        for line in lines
    ]

"""The whole loop, as a user runs it: real Hydra, Ray, Megatron and transformers, a tiny model."""

import json
import os
import re
import signal
from pathlib import Path
from statistics import fmean

import pytest
import torch
from launching import TINY, finish, launch, left_behind, start
from safetensors.torch import load_file, save_file

from slime.config.schema import TinyModel
from slime.model.prepare import prepare_model

ROOT = Path(__file__).parents[1]
DOCUMENTED = set(re.findall(r"^\| `(\w+/\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.M))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("run")
    done = launch(cwd, *TINY, "iterations=3", "rollout.save=saved", "evaluation.prompts=8")
    assert done.exit_code == 0, done.stderr
    return done


def test_a_run_leaves_everything_the_readme_lists(run):
    left = {p.name for p in run.run_directory.iterdir()}
    assert left == {
        "resolved.yaml", "run.json", "metrics.jsonl", "samples.jsonl", "evaluations.jsonl",
        "tensorboard", "model", "reward.png", "ended.json", "checkpoints",
    }  # fmt: skip
    assert list((run.run_directory / "tensorboard").glob("events.out.tfevents.*"))


def test_a_run_leaves_no_process_behind(run):
    assert not left_behind(run.cwd)


def test_every_metric_is_documented_and_every_documented_metric_is_written(run):
    written = {key for record in run.records() for key in record} - {"iteration", "step"}
    assert written == DOCUMENTED


def test_there_is_a_record_per_step_and_per_evaluation(run):
    assert [r["step"] for r in run.steps()] == [0, 1, 2]
    assert [r["iteration"] for r in run.evaluations()] == [0, 3]


def test_every_held_out_answer_is_kept_and_their_mean_is_the_evaluation(run):
    answers = run.records("evaluations.jsonl")
    for evaluation in run.evaluations():
        mine = [a for a in answers if a["iteration"] == evaluation["iteration"]]
        assert len({a["prompt_id"] for a in mine}) == evaluation["evaluation/prompts"] == 8
        assert fmean(a["reward"] for a in mine) == evaluation["evaluation/reward_mean"]
        lengths = [a["response_tokens"] for a in mine]
        assert fmean(lengths) == evaluation["evaluation/response_tokens_mean"]


def test_one_line_an_iteration_when_not_a_terminal(run):
    lines = [line for line in run.stdout.splitlines() if line.startswith("iteration ")]
    assert len(lines) == 3
    for word in ("reward", "length", "loss", "grad norm", "tokens/s", "generate", "push", "ETA"):
        assert word in lines[0]


def test_engine_and_trainer_agree_on_the_log_probs_of_every_token(run):
    assert all(r["train/rollout_logprob_abs_diff"] < 1e-4 for r in run.steps())


def test_the_final_model_loads_in_transformers_and_has_moved(run):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run.run_directory / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)
    before = load_file(prepare_model(TinyModel()) / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_samples_are_decoded_with_their_rewards(run):
    samples = run.records("samples.jsonl")
    assert {s["iteration"] for s in samples} == {0, 1, 2}
    assert all(s["prompt"].startswith("Question:") and s["reward"] in (0.0, 1.0) for s in samples)


@pytest.fixture(scope="module")
def replayed(run, tmp_path_factory):
    """The same saved iterations, trained on by one worker and by two."""
    saved = f"rollout.engine.path={run.cwd / 'saved'}"
    by_workers = {}
    for workers in (1, 2):
        cwd = tmp_path_factory.mktemp(f"replay{workers}")
        by_workers[workers] = launch(
            cwd, *TINY, "iterations=3", "rollout/engine=replay", saved, f"parallel.data={workers}"
        )
        assert by_workers[workers].exit_code == 0, by_workers[workers].stderr
    return by_workers


@pytest.mark.slow
def test_a_replay_takes_the_same_training_steps(run, replayed):
    for live, again in zip(run.steps(), replayed[1].steps(), strict=True):
        assert train_metrics(again) == pytest.approx(train_metrics(live), rel=1e-5, abs=1e-9)


@pytest.mark.slow
def test_two_data_parallel_workers_give_the_metrics_of_one(replayed):
    for one, two in zip(replayed[1].steps(), replayed[2].steps(), strict=True):
        assert train_metrics(two) == pytest.approx(train_metrics(one), rel=1e-5, abs=1e-9)


@pytest.mark.slow
def test_two_data_parallel_workers_end_with_the_weights_of_one(replayed):
    one, two = (
        load_file(replayed[n].run_directory / "model" / "model.safetensors") for n in (1, 2)
    )
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6)


def train_metrics(record: dict) -> dict:
    return {k: v for k, v in record.items() if k.startswith("train/")}


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupt_saves_the_model_says_where_and_leaves_no_process(tmp_path, number):
    process = start(tmp_path, *TINY, "iterations=1000")
    for line in process.stdout:
        if line.startswith("iteration"):
            break
    assert len(left_behind(tmp_path)) > 3  # Ray, its actors, the scoring process
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # what a terminal does
    else:
        process.send_signal(number)
    done = finish(process, tmp_path)
    assert done.exit_code == 130
    assert str(done.run_directory.name) in done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    assert (done.run_directory / "model" / "model.safetensors").exists()
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_steps_that_are_not_finite_change_nothing_and_stop_the_run(run, tmp_path):
    broken = tmp_path / "model"
    weights = load_file(run.run_directory / "model" / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    broken.mkdir()
    for file in (run.run_directory / "model").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})

    done = launch(
        tmp_path, "model=path", f"model.path={broken}", "model.verify=false",
        "rollout/engine=replay", f"rollout.engine.path={run.cwd / 'saved'}", "iterations=3",
        "max_bad_steps=2",
    )  # fmt: skip

    assert done.exit_code == 1
    assert "Traceback" not in done.stderr
    assert "2 steps in a row" in done.stdout
    assert [r["train/skipped"] for r in done.steps()] == [True, True]
    saved = load_file(done.run_directory / "model" / "model.safetensors")
    for name, weight in weights.items():
        torch.testing.assert_close(saved[name], weight, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_a_step_that_ruins_the_weights_does_not_ruin_what_is_saved(tmp_path):
    """Its loss and gradient are finite; only the next generation shows what it did."""
    (tmp_path / "rewards.py").write_text(
        "def length(response, answer):\n    return float(len(response))\n"
    )
    done = launch(
        tmp_path, *TINY, "iterations=5", "optimizer.learning_rate=1e18", "optimizer.clip_grad=0",
        "reward=function", "reward.function=rewards:length", PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.exit_code == 1
    assert "the model's probabilities are not finite" in done.stdout
    assert "Traceback" not in done.stderr
    saved = load_file(done.run_directory / "model" / "model.safetensors")
    assert max(w.abs().max() for w in saved.values()) < 10


@pytest.mark.slow
def test_chat_questions_with_several_steps_a_kl_term_and_an_entropy_bonus(tmp_path):
    lines = [
        json.dumps({"messages": [{"role": "user", "content": f"{i} + {i}?"}], "answer": 2 * i})
        for i in range(24)
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    done = launch(
        tmp_path, *TINY, "iterations=2", "recipe=grpo/v1",
        "steps_per_iteration=2", "loss.entropy_coefficient=0.01", "task=jsonl",
        "task.path=questions.jsonl", "rollout.top_p=0.9", "rollout.temperature=0.8",
        "parallel.max_tokens_per_microbatch=300", "evaluation.prompts=2",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    steps = done.steps()
    assert [r["step"] for r in steps] == [0, 1, 2, 3]
    for record in steps:
        parts = [record[f"train/{name}"] for name in ("pg_loss", "kl_loss", "entropy_loss")]
        assert record["train/loss"] == pytest.approx(sum(parts), abs=1e-9)
        assert record["train/entropy_loss"] < 0
    assert steps[0]["train/ratio"] == pytest.approx(1, abs=1e-5)  # before anything was trained
    assert steps[0]["train/kl"] == pytest.approx(0, abs=1e-6)
    assert steps[1]["train/kl"] > 0
    assert {"rollout/reward_mean", "time/train_s"} <= steps[1].keys() - steps[0].keys()


@pytest.mark.slow
def test_another_layout_trains_the_same_model_step_by_step(run, tmp_path):
    """Two steps an iteration: the second one's old log-probs are those before the first."""
    arguments = [
        *TINY, "rollout/engine=replay", f"rollout.engine.path={run.cwd / 'saved'}", "iterations=2",
        "steps_per_iteration=2", "loss/kl=k3", "loss.kl.coefficient=0.1",
        "loss.entropy_coefficient=0.05", "optimizer.learning_rate=1e-3", "optimizer.eps=1e-6",
        "tracking=none",
    ]  # fmt: skip
    one = launch(tmp_path / "one", *arguments)
    four = launch(tmp_path / "four", *arguments, "parallel.data=2", "parallel.pipeline=2")
    assert (one.exit_code, four.exit_code) == (0, 0), four.stderr
    for first, second in (one.steps()[:2], one.steps()[2:]):
        assert first["train/ratio"] == pytest.approx(1, abs=1e-5)
        assert abs(second["train/ratio"] - 1) > 1e-4
        assert second["train/kl"] > 0
    for a, b in zip(one.steps(), four.steps(), strict=True):
        for name in (name for name in a if name.startswith("train/")):
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-6), name
    whole = load_file(one.run_directory / "model" / "model.safetensors")
    parts = sorted((four.run_directory / "model").glob("model-*.safetensors"))
    assert len(parts) == 2
    together = {name: tensor for part in parts for name, tensor in load_file(part).items()}
    assert together.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-5)

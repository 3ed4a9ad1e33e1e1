"""A run compares its trainer with transformers before it trains, and stops where they differ."""

import os

import pytest
from launching import TINY, launch

# A mixture's experts on two workers; the engine and the trainer then agree to rounding only.
MIXTURE = ["model=tiny_moe", *TINY[1:], "parallel.data=2", "parallel.expert=2", "iterations=1"]

# Run by every Python process that finds it: rounding is too much from then on.
NO_TOLERANCE = """
import slime.model.verify as verify
verify._LIMITS = dict.fromkeys(verify._LIMITS, 0.0)
"""

# The weights that an engine is given are not quite those of the trainer.
WRONG_PUSH = """
import slime.rollout.weights as weights
right = weights.copy_weights
def copy_weights(model, shards):
    right(model, shards)
    next(model.parameters()).mul_(1.01)
weights.copy_weights = copy_weights
"""


@pytest.fixture
def altered(tmp_path):
    """-> PYTHONPATH of processes that run this first"""

    def write(code):
        folder = tmp_path / "altered"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(code)
        return f"{folder}:{os.environ.get('PYTHONPATH', '')}"

    return write


@pytest.fixture
def strict(altered):
    return altered(NO_TOLERANCE)


@pytest.mark.slow
def test_a_difference_stops_the_run_before_anything_is_trained(tmp_path, strict):
    done = launch(tmp_path / "run", *MIXTURE, PYTHONPATH=strict)
    assert done.exit_code == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("config error")]
    assert line.startswith("config error: model.verify: the trainer's logits for ")
    assert "they differ by " in line
    assert not (done.run_directory / "model").exists()


@pytest.mark.slow
def test_model_verify_false_trains_all_the_same_and_a_mixture_leaves_a_model(tmp_path, strict):
    from transformers import AutoModelForCausalLM

    done = launch(tmp_path / "run", *MIXTURE, "model.verify=false", PYTHONPATH=strict)
    assert done.exit_code == 0, done.stderr
    assert len(done.steps()) == 1
    _, found = AutoModelForCausalLM.from_pretrained(
        done.run_directory / "model", output_loading_info=True
    )
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]


@pytest.mark.slow
def test_a_replay_without_an_engine_asks_a_process_of_its_own(tmp_path, strict):
    tiny = [*TINY, "iterations=1", "evaluation.prompts=2"]
    saved = tmp_path / "saved"
    first = launch(tmp_path / "first", *tiny, f"rollout.save={saved}")
    assert first.exit_code == 0, first.stderr
    replay = ["rollout/engine=replay", f"rollout.engine.path={saved}"]
    again = launch(tmp_path / "again", *tiny, *replay)
    assert again.exit_code == 0, again.stderr
    refused = launch(tmp_path / "refused", *tiny, *replay, PYTHONPATH=strict)
    assert refused.exit_code == 2
    assert "model.verify: the trainer's logits" in refused.stderr


@pytest.mark.slow
def test_the_weights_of_a_checkpoint_are_compared_when_the_engine_has_them(tmp_path, altered):
    first = launch(tmp_path / "first", *TINY, "iterations=1")
    assert first.exit_code == 0, first.stderr
    begun = [*TINY, "iterations=2", f"checkpoint.resume={first.run_directory}"]
    again = launch(tmp_path / "again", *begun)
    assert again.exit_code == 0, again.stderr
    refused = launch(tmp_path / "refused", *begun, PYTHONPATH=altered(WRONG_PUSH))
    assert refused.exit_code == 2
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("config error")]
    began = refused.run_directory / "checkpoints" / "iteration-000001"
    assert f"model.verify: after reading the checkpoint {began} the trainer's logits" in line
    assert "they differ by " in line
    assert len(refused.steps()) == 0

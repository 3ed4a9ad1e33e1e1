"""Where a run begins."""

import json

import pytest

from slime.begin import find_beginning
from slime.checkpoint import Origin, Position
from slime.checkpoint.saved import all_of
from slime.checkpoint.write import begin, seal, trainer_folder
from slime.config.schema import CheckpointConfig, ConfigError

VALUES = {"seed": 0, "iterations": 20, "model.layers": 2}


@pytest.fixture
def run(tmp_path):
    return made(tmp_path / "run")


def made(directory, **values):
    directory.mkdir()
    record = {"fingerprint": "0123456789ab", "values": VALUES | values}
    (directory / "run.json").write_text(json.dumps(record))
    return directory


def save(run, iteration):
    folder = run / "checkpoints"
    aside = begin(folder, iteration)
    (trainer_folder(aside) / "a.safetensors").write_text("weights")
    at = Position(iteration, 2 * iteration, 1, iteration, 2, 1, {"metrics.jsonl": 99}, "an-id")
    return seal(aside, Origin("0123456789ab", VALUES), at)


def found(run, resume="auto"):
    warnings = []
    beginning = find_beginning(CheckpointConfig(resume=resume), run, warnings.append)
    return beginning, warnings


def test_a_new_run_begins_with_the_starting_model_and_a_checkpoint_that_says_so(run):
    beginning, warnings = found(run)
    assert (beginning.is_new, beginning.past, warnings) == (True, None, [])
    assert beginning.position == Position()
    assert beginning.checkpoint.trainer is None
    again, _ = found(run)
    assert again.checkpoint == beginning.checkpoint
    assert (again.past.iteration, again.past.lengths) == (0, {})


def test_a_run_goes_on_from_its_newest_checkpoint(run):
    found(run)
    newest = save(run, 5)
    (run / "checkpoints" / ".iteration-000010.99" / "trainer").mkdir(parents=True)
    beginning, _ = found(run)
    assert beginning.checkpoint.folder == newest
    assert beginning.checkpoint.trainer == newest / "trainer"
    past = beginning.past
    assert (past.iteration, past.lengths, past.tracker) == (5, {"metrics.jsonl": 99}, "an-id")
    assert (beginning.restarts.engine, beginning.restarts.trainer) == (2, 1)
    assert not list((run / "checkpoints").glob(".iteration-*"))


def test_a_damaged_one_makes_room_for_the_same_iteration(run):
    save(run, 5)
    (save(run, 10) / "trainer" / "a.safetensors").unlink()
    beginning, [warning] = found(run)
    assert beginning.position.iteration == 5
    assert "iteration-000010 is damaged (trainer/a.safetensors is missing)" in warning
    assert [path.name for path in all_of(run / "checkpoints")] == ["iteration-000005"]
    assert (run / "checkpoints" / "damaged-iteration-000010").is_dir()
    save(run, 10)
    assert found(run)[0].position.iteration == 10


def test_when_none_is_whole_the_run_does_not_quietly_start_again(run):
    (save(run, 5) / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="holds no checkpoint that is whole"):
        found(run)


def test_another_runs_checkpoint_is_a_beginning_with_nothing_reported_yet(run, tmp_path):
    saved = save(run, 5)
    other = made(tmp_path / "other", iterations=40)
    beginning, [warning] = found(other, resume=str(run))
    at = beginning.position
    assert (at.iteration, at.step, at.bad_steps, at.draws) == (5, 10, 1, 5)
    assert (at.lengths, at.tracker, at.engine_restarts, beginning.past) == ({}, None, 0, None)
    assert "other values: iterations 20 -> 40" in warning
    assert (beginning.checkpoint.trainer / "a.safetensors").read_text() == "weights"
    assert beginning.checkpoint.folder != saved

    later = save(other, 10)  # the same command again
    assert found(other, resume=str(run))[0].checkpoint.folder == later


def test_a_checkpoint_of_another_model_is_refused(run, tmp_path):
    save(run, 5)
    other = made(tmp_path / "other", **{"model.layers": 3})
    with pytest.raises(ConfigError, match=r"of another model: model.layers 2 -> 3$"):
        found(other, resume=str(run))

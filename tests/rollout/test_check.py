"""What is known of rollout folders before anything heavy is imported."""

import pytest

from slime.config.schema import LocalEngine, ReplayEngine, RolloutConfig
from slime.rollout.check import problems


def saved(folder, *iterations):
    for iteration in iterations:
        (folder / f"iteration_{iteration:05d}").mkdir(parents=True)
    return folder


def of_saving(folder):
    return list(problems(RolloutConfig(engine=LocalEngine(), save=str(folder)), 2))


def of_replaying(folder, iterations):
    return list(problems(RolloutConfig(engine=ReplayEngine(path=str(folder))), iterations))


def test_a_folder_to_save_into_may_be_new_deep_or_empty(tmp_path):
    assert of_saving(tmp_path) == of_saving(tmp_path / "new" / "and" / "deep") == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_run_is_not_saved_into(tmp_path):
    [problem] = of_saving(saved(tmp_path, 0))
    assert problem == (
        f"rollout.save: {tmp_path} already holds saved iterations; name another folder"
    )


@pytest.mark.parametrize("below", ["file", "file/saved"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, below):
    (tmp_path / "file").touch()
    [problem] = of_saving(tmp_path / below)
    assert problem == (
        f"rollout.save: cannot make {tmp_path / below} ({tmp_path / 'file'} is not a folder)"
    )


def test_a_replay_needs_its_iterations(tmp_path):
    folder = saved(tmp_path / "saved", 0, 1, 2)
    assert of_replaying(folder, 3) == of_replaying(folder, 1) == []
    [problem] = of_replaying(folder, 4)
    assert problem == (
        f"iterations=4: {folder} (rollout.engine.path) has only 3 saved iterations; write "
        f"iterations=3 or less"
    )


def test_a_missing_folder_an_empty_one_and_a_gap_are_told_apart(tmp_path):
    [missing] = of_replaying(tmp_path / "nowhere", 1)
    assert "is not a folder" in missing
    [empty] = of_replaying(tmp_path, 1)
    assert "holds no saved iterations; write them with rollout.save=" in empty
    [gap] = of_replaying(saved(tmp_path, 0, 2), 3)
    assert "lacks iteration 1" in gap


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "saved", 0)
    assert of_replaying("~/saved", 1) == []
    assert "already holds" in of_saving("~/saved")[0]

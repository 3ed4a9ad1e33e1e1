"""What a run's log tells its tracker."""

import json

import pytest

from slime.config.schema import NoTracking, TensorBoardTracking
from slime.data.metrics import NOTHING_TO_TRAIN
from slime.tracking import run_log
from slime.tracking.run_log import RunLog, StepNumber
from slime.tracking.tracker import RunState
from slime.train import Outcome


class Noted:
    where = "http://here"
    run_id = "7"

    def __init__(self):
        self.points, self.state = [], None

    def write(self, points):
        self.points += points

    def close(self, state):
        self.state = state


@pytest.fixture
def tracker(monkeypatch):
    tracker = Noted()
    monkeypatch.setattr(run_log, "open_tracker", lambda *_: tracker)
    return tracker


def log_in(directory, config=None):
    return RunLog(config or NoTracking(), directory, iterations=1, agreement=1e-3)


def test_a_checkpoint_knows_the_trackers_id_and_how_much_was_written(tracker, tmp_path):
    with log_in(tmp_path) as log:
        log.step(StepNumber(0, 0), NOTHING_TO_TRAIN)
        past = log.past(1)
    assert past.tracker == tracker.run_id
    assert past.lengths["metrics.jsonl"] == len((tmp_path / "metrics.jsonl").read_bytes())
    assert past.lengths["samples.jsonl"] == 0


def test_the_tracker_gets_the_numbers_of_metrics_jsonl_and_is_pointed_at(tracker, tmp_path, capsys):
    with log_in(tmp_path) as log:
        log.step(StepNumber(2, 5), NOTHING_TO_TRAIN)
    [record] = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert {p.name: p.value for p in tracker.points} == {
        k: v for k, v in record.items() if "/" in k
    }
    assert {(p.axis, p.x) for p in tracker.points} == {("step", 5)}
    assert "metrics: http://here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, RunState.finished),
        (RuntimeError, RunState.failed),
        (KeyboardInterrupt, RunState.interrupted),
    ],
)
def test_an_exception_says_how_the_run_ended(tracker, tmp_path, error, state):
    try:
        with log_in(tmp_path):
            if error:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert tracker.state is state


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.finished, RunState.finished),
        (Outcome.failed, RunState.failed),
        (Outcome.interrupted, RunState.interrupted),
    ],
)
def test_a_run_that_stops_without_an_exception_says_so_itself(tracker, tmp_path, outcome, state):
    with log_in(tmp_path) as log:
        log.ended(outcome.state)
    assert tracker.state is state


def test_a_tracker_that_cannot_open_is_a_warning_in_the_log(tmp_path, capsys):
    with log_in(tmp_path, TensorBoardTracking()):  # there is no run.json
        pass
    printed = capsys.readouterr().out
    assert "warning: tracking=tensorboard failed and is off: FileNotFoundError" in printed

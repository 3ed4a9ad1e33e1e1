"""No tracker can stop a run."""

from slime.tracking.tracker import Guarded, Point, RunState

STEP = {"iteration": 3, "step": 6, "train/loss": 1e-9}


class Failing:
    """A tracker whose network goes down at the second record."""

    where = "somewhere"

    def __init__(self):
        self.written, self.closed = 0, None

    def write(self, points: list[Point]) -> None:  # noqa: ARG002
        self.written += 1
        if self.written == 2:
            raise ConnectionError("the network is down\nand more")

    def close(self, state: RunState) -> None:
        self.closed = state
        raise ConnectionError("still down")


def test_a_tracker_that_fails_is_warned_about_once_and_is_off():
    warnings, failing = [], Failing()
    guarded = Guarded("wandb", lambda: failing, warnings.append)
    for _ in range(4):
        guarded.write(STEP, 3)
    guarded.close(RunState.finished)
    assert failing.written == 2
    assert failing.closed is RunState.finished  # it may hold a process
    assert warnings == [
        "tracking=wandb failed and is off: ConnectionError: the network is down; the run goes on, "
        "and metrics.jsonl has every number"
    ]


def test_a_tracker_that_fails_only_at_the_end_is_warned_about():
    warnings, failing = [], Failing()
    guarded = Guarded("wandb", lambda: failing, warnings.append)
    guarded.close(RunState.finished)
    assert "ConnectionError: still down" in warnings[0]

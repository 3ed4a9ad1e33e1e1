"""Work beside the run: what it raises is told, and nobody has to wait for it."""

import threading

import pytest

from slime.background import Background


def test_the_result_is_waited_for():
    let, done = threading.Event(), []

    def work(_task):
        let.wait()
        done.append(True)

    task = Background(work)
    assert not task.has_ended
    with pytest.raises(TimeoutError):
        task.result(0.01)
    let.set()
    task.result()
    assert (done, task.has_ended) == ([True], True)


def test_what_it_raises_the_result_raises():
    def work(_task):
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        Background(work).result()


def test_work_is_left_alone_when_patience_ends_and_sees_that():
    seen = threading.Event()

    def work(task):
        while not task.wait_for_cancel(0.01):
            pass
        seen.set()

    task = Background(work)
    task.end(0.01)
    assert seen.wait(60)
    task.result()


def test_work_that_is_cancelled_is_waited_for():
    task = Background(lambda task: task.wait_for_cancel(60))
    task.end(60, cancel=True)
    assert task.has_ended

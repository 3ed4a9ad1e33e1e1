"""An interrupt ends a run between two things that are wholes, and not later than it may."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from slime.stop import Stop, StopNow


def interrupt(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def wait_for_a_signal():
    signal.pause()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_raised_where_nothing_is_held(number):
    with Stop(60), pytest.raises(KeyboardInterrupt) as raised:
        interrupt(number)
    assert not isinstance(raised.value, StopNow)


def test_an_interrupt_waits_for_what_is_held_and_says_so():
    said, done = [], []
    with Stop(60) as stop:
        stop.tell(said.append)
        with stop.held():
            interrupt()
            done.append("all of it")
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    assert done == ["all of it"]
    assert said == ["stopping as soon as this is done (interrupt again to stop at once)"]


def test_the_second_interrupt_does_not_wait():
    with Stop(60) as stop, stop.held():
        interrupt()
        with pytest.raises(StopNow):
            interrupt()


def test_when_the_grace_is_over_nothing_is_waited_for():
    with Stop(0.02) as stop, stop.held():
        interrupt()
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.02
        with pytest.raises(StopNow):
            wait_for_a_signal()


def test_what_swallows_the_second_interrupt_can_still_be_told_from_the_first():
    """Ray raises a plain KeyboardInterrupt when a handler has raised anything."""
    with Stop(60) as stop, stop.held():
        interrupt()
        assert not stop.is_over
        with pytest.raises(StopNow):
            interrupt()
        assert stop.is_over


def test_later_interrupts_change_nothing():
    with Stop(60):
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        with pytest.raises(StopNow):
            interrupt()
        interrupt()
        interrupt()
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 5


def test_a_process_that_does_not_end_within_the_grace_is_given_up():
    given_up = []
    with Stop(0.02, give_up=lambda: given_up.append(True)):
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        with pytest.raises(StopNow):
            wait_for_a_signal()
        wait_for_a_signal()
    assert given_up == [True]


GIVEN_UP = """
import os, signal, subprocess, sys
from contextlib import suppress
from slime.stop import Stop

waits = [sys.executable, "-c", "import signal; signal.pause()"]
child = subprocess.Popen(waits, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(child.pid, flush=True)
with Stop(0.02):
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    while True:
        with suppress(KeyboardInterrupt):
            signal.pause()
"""


def test_what_it_has_started_is_given_up_with_it():
    done = subprocess.run([sys.executable, "-c", GIVEN_UP], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
    with suppress(psutil.NoSuchProcess):  # else it is being ended
        psutil.Process(int(done.stdout)).wait(10)


def test_without_an_interrupt_nothing_is_raised():
    with Stop(0.02) as stop:
        with stop.held():
            pass
        stop.check()


def test_after_it_signals_mean_what_they_meant():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with Stop(0.02), pytest.raises(KeyboardInterrupt):
        interrupt()
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    assert after == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

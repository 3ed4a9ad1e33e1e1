"""The process that runs reward functions, so that one that hangs or crashes can be killed.

Protocol: the child says it is ready; it is sent one (number, response, answer) after the other and
answers each with a result.  So the parent always knows what is being scored, and what was printed.
A result is JSON, [number, reward, reason], and bears the number it is for: the function may have
made copies of its process, which would answer too.
"""

import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from numbers import Real

from slime.config.schema.imported import describe
from slime.reward.bounds import limit_memory
from slime.reward.build import Reward, load_reward
from slime.reward.descendants import kill_all, lead
from slime.reward.output import Printed, Writers, own_streams, print_to

_MOST_RESULT_BYTES = 1 << 16
_DYING_SECONDS = 1.0  # from closing its files to being gone
START_SECONDS = 120.0  # an import that takes longer will not end


@dataclass(frozen=True, slots=True)
class Score:
    """What the function returned."""

    reward: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no score."""

    reason: str


class ScoringLostError(Exception):
    """No result will come from this process any more: it hangs or died.  The message says which."""


class ScoringStartError(RuntimeError):
    """The process did not come to the point where it can score.  The message says why."""


class ScoringProcess:
    """A child that scores with the function at module:name; started at once, ready later."""

    def __init__(self, path: str, max_memory_gib: float) -> None:
        context = multiprocessing.get_context("spawn")  # forking a process with threads can hang
        self._pipe, theirs = context.Pipe()
        self._printed = Printed(context)
        writers = self._printed.writers
        self._process = context.Process(
            target=_serve, args=(theirs, writers, path, max_memory_gib), daemon=True
        )
        # A signal mask is inherited: Ctrl-C goes to the parent alone, which then ends the child.
        # The tracker, which multiprocessing starts with the first child, would lift the mask.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for end in (theirs, *writers):
            end.close()
        self._ready = False
        self._expected = 0  # the number of the next result; of the readiness: 0
        self._left: Iterator[tuple[str, str]] = iter(())  # what it is to be sent yet
        self._ended = False

    def send(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Ask for the scores of (response, answer) pairs; the next results are theirs, in order.

        Raises ScoringStartError when the child cannot start, ConnectionError when it is dead.
        """
        if not self._ready:
            self._wait_until_ready()
        self._left = iter(pairs)
        self._send_next()

    def result(self, timeout_seconds: float) -> Score | Failure:
        """The next result.  Raises ScoringLostError when there will be none in time."""
        deadline = time.monotonic() + timeout_seconds
        result: Score | Failure
        try:
            while True:
                left = max(0.0, deadline - time.monotonic())
                found = wait([self._pipe, *self._printed.ends()], left)
                self._printed.pass_on()
                if self._pipe in found:
                    number, reward, reason = json.loads(self._pipe.recv_bytes(_MOST_RESULT_BYTES))
                    if number == self._expected:
                        result = Score(float(reward)) if reason is None else Failure(str(reason))
                        break
                if time.monotonic() >= deadline:
                    raise ScoringLostError(f"took longer than {timeout_seconds:g} s")
        except (EOFError, OSError, ValueError, TypeError):
            wait([self._process.sentinel], _DYING_SECONDS)
            self._end()
            code = self._process.exitcode
            raise ScoringLostError(f"killed its process (exit code {code})") from None
        self._printed.pass_on()
        self._printed.begin()
        self._expected += 1
        with suppress(OSError):  # it is dead, which the next one to ask for a result is told
            self._send_next()
        return result

    def _send_next(self) -> None:
        if (pair := next(self._left, None)) is not None:
            self._pipe.send((self._expected, *pair))

    def _wait_until_ready(self) -> None:
        try:
            started = self.result(START_SECONDS)
        except ScoringLostError as lost:
            raise ScoringStartError(f"the start of the scoring process {lost}") from None
        if isinstance(started, Failure):
            raise ScoringStartError(f"the scoring process did not start: {started.reason}")
        self._ready = True

    def kill(self) -> None:
        """End the child, whatever it is doing, and what it has started."""
        self._end()
        self._printed.pass_on()
        self._printed.close()
        self._pipe.close()

    def _end(self) -> None:
        if not self._ended:
            assert self._process.pid is not None
            kill_all(self._process.pid)
            self._process.join()
            self._ended = True


def _serve(pipe: Connection, writers: Writers, path: str, max_memory_gib: float) -> None:
    """The child's main function."""
    lead()
    print_to(writers)
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    try:
        function = load_reward(path)
        limit_memory(max_memory_gib)
    except Exception as failed:
        _answer(pipe, 0, Failure(describe(failed)))
        return
    _answer(pipe, 0, Score(0.0))
    me = os.getpid()
    while True:
        try:
            number, response, answer = pipe.recv()
        except EOFError:
            return
        result = score_one(function, response, answer)
        if os.getpid() != me:  # a copy that the function has made of its process
            os._exit(0)
        _answer(pipe, number, result)


def _answer(pipe: Connection, number: int, result: Score | Failure) -> None:
    match result:
        case Score(reward=reward):
            pipe.send_bytes(json.dumps([number, reward, None]).encode())
        case Failure(reason=reason):
            pipe.send_bytes(json.dumps([number, None, reason]).encode())


def score_one(function: Reward, response: str, answer: str) -> Score | Failure:
    """The function's value, or why it has none that can be used."""
    try:
        with own_streams():
            value: object = function(response, answer)
        if not isinstance(value, Real):
            return Failure(f"returned {value!r:.100}, not a number")
        reward = float(value)  # of a whole number of 400 digits there is none
    except BaseException as failed:  # SystemExit too: it must not end the child
        return Failure(describe(failed))
    return Score(reward) if math.isfinite(reward) else Failure(f"returned {reward}")


def _die_with_the_parent() -> None:
    """A parent that was killed cannot end its child."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        kill_all(os.getpid())

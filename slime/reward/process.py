"""The process that runs reward functions, so that one that hangs or crashes can be killed.

Protocol: the child says it is ready; it is sent a list of (response, answer) pairs and answers with
one result per pair, as soon as it has it.  So the parent always knows which pair is being scored.
"""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from numbers import Real

from slime.config.schema.imported import describe
from slime.reward.bounds import limit_memory, limited_output
from slime.reward.build import Reward, load_reward

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
        self._process = context.Process(
            target=_serve, args=(theirs, path, max_memory_gib), daemon=True
        )
        # A signal mask is inherited: Ctrl-C goes to the parent alone, which then ends the child.
        # The tracker, which multiprocessing starts with the first child, would lift the mask.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._ready = False

    def send(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Ask for the scores of (response, answer) pairs; the next results are theirs, in order.

        Raises ScoringStartError when the child cannot start, ConnectionError when it is dead.
        """
        if not self._ready:
            self._wait_until_ready()
        self._pipe.send(pairs)

    def result(self, timeout_seconds: float) -> Score | Failure:
        """The next result.  Raises ScoringLostError when there will be none in time."""
        try:
            if not self._pipe.poll(timeout_seconds):
                raise ScoringLostError(f"took longer than {timeout_seconds:g} s")
            result: Score | Failure = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            raise ScoringLostError(f"killed its process (exit code {code})") from None
        return result

    def _wait_until_ready(self) -> None:
        try:
            started = self.result(START_SECONDS)
        except ScoringLostError as lost:
            raise ScoringStartError(f"the start of the scoring process {lost}") from None
        if isinstance(started, Failure):
            raise ScoringStartError(f"the scoring process did not start: {started.reason}")
        self._ready = True

    def kill(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, path: str, max_memory_gib: float) -> None:
    """The child's main function."""
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    try:
        function = load_reward(path)
        limit_memory(max_memory_gib)
    except Exception as failed:
        pipe.send(Failure(describe(failed)))
        return
    pipe.send(Score(0.0))
    while True:
        try:
            pairs = pipe.recv()
        except EOFError:
            return
        for response, answer in pairs:
            pipe.send(score_one(function, response, answer))


def score_one(function: Reward, response: str, answer: str) -> Score | Failure:
    """The function's value, or why it has none that can be used."""
    try:
        with limited_output():
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
        os._exit(1)

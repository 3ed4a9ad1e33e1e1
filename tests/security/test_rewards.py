"""Answers of a model that are meant to break what scores them."""

from contextlib import suppress

import psutil
import pytest
from reward.test_scorer import groups, rewards

from slime.config.schema import (
    ExactMatchReward,
    FirstNumberReward,
    FunctionReward,
    LastNumberReward,
)
from slime.reward import Scorer

MANY = 300_000

# response -> is it 14, for the first number and for the last
ANSWERS = {
    "9**9**9**9": (0, 0),
    "14 __import__('os').mkdir('x')": (1, 1),
    "1" * 10_000_000: (0, 0),
    "14" + " 1" * (MANY // 2): (1, 0),
    "1," * (MANY // 2): (0, 0),
    "1,111" * (MANY // 5) + "x": (0, 0),
    "111," * (MANY // 4) + "1111": (0, 0),
    "-" * MANY + "14": (0, 0),
    "." * MANY + "14": (0, 0),
    "1." * (MANY // 2): (0, 0),
    "0." + "0" * MANY + "1": (0, 0),
    "14." + "0" * MANY: (1, 1),
    "1e999999999": (0, 0),
    "14e999999999": (1, 0),
    "1/1" + "0" * MANY: (0, 0),
    "(" * MANY + "14" + ")" * MANY: (1, 1),
    "\\frac{" * (MANY // 6) + "14": (1, 1),
    "\\boxed{" * (MANY // 7) + "14" + "}": (1, 1),
    "\uff11\uff14": (0, 0),  # full-width 14
    "\u0661\u0664": (0, 0),  # Arabic-Indic 14
    "\u00b9\u2074": (0, 0),  # superscripts
    "\u216916": (0, 0),  # a Roman ten
    "\u221214": (0, 0),
    "nan": (0, 0),
    "inf Infinity sNaN": (0, 0),
    "\0" * MANY + "14": (1, 1),
    "\ud800 14": (1, 1),
    "\u202e41\u202c": (0, 0),  # shows as 14
    "": (0, 0),
}


@pytest.mark.parametrize(("config", "place"), [(FirstNumberReward, 0), (LastNumberReward, 1)])
def test_no_answer_breaks_the_built_in_verifiers(config, place):
    with Scorer(config(timeout_seconds=60.0, failure_value=-1.0)) as scorer:
        scored = scorer.score(groups(*ANSWERS, per_group=1))
    assert scored.failures == ()
    assert rewards(scored) == [float(right[place]) for right in ANSWERS.values()]


def test_exact_match_is_of_text():
    with Scorer(ExactMatchReward()) as scorer:
        scored = scorer.score(groups(" 14\n", "14.0", "\uff11\uff14", "1" * MANY))
    assert rewards(scored) == [1.0, 0.0, 0.0, 0.0]


BROKEN = {
    "memory": "MemoryError",
    "digits": "OverflowError: int too large to convert to float",
    "long error": "ValueError: " + "x" * 200,
    "long value": "not a number",
    "lines": "ValueError: a",
    "power": "took longer than 1 s",
    "backtracking": "took longer than 1 s",
    "kill": "killed its process (exit code -9)",
    "unspeakable": "Unspeakable",
}


def test_a_function_that_an_answer_breaks_costs_that_answer_its_reward(capfd):
    config = FunctionReward(
        function="security.breaking:calculate",
        failure_value=-1.0,
        timeout_seconds=1.0,
        max_memory_gib=1.0,
    )
    responses = [text for broken in BROKEN for text in (broken, "fine")]
    with Scorer(config) as scorer:
        scored = scorer.score(groups(*responses, "print", "fine"))
    assert rewards(scored) == [-1.0, 1.0] * len(BROKEN) + [0.5, 1.0]
    reasons = {failure.response: failure.reason for failure in scored.failures}
    for response, reason in BROKEN.items():
        assert reason in reasons[response]
        assert len(reasons[response]) < 300
        assert "\n" not in reasons[response]
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("x" * 10_000, "y" * 10_000)


def scored_by(function, *responses, answer="14"):
    config = FunctionReward(function=f"security.breaking:{function}", failure_value=-1.0)
    with Scorer(config) as scorer:
        return rewards(scorer.score(groups(*responses, answer=answer, per_group=1)))


def test_a_copy_of_the_process_that_the_function_makes_scores_nothing():
    responses = ["fork", "fine", "fork", "fork", "fine"]
    assert scored_by("calculate", *responses) == [0.5, 1.0, 0.5, 0.5, 1.0]


def test_of_what_is_written_to_the_descriptors_only_the_beginning_is_passed_on(capfd):
    responses = ["descriptors", "closed", "print", "surrogate", "fine"]
    assert scored_by("calculate", *responses) == [0.5, 0.5, 0.5, 0.5, 1.0]
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("x" * 20_000 + "\\ud800", "y" * 20_000)


@pytest.mark.parametrize(("response", "reward"), [("fine", 1.0), ("hang", -1.0)])
def test_processes_that_a_reward_has_started_end_with_it(response, reward, tmp_path):
    """With the run, or when the answer has taken too long."""
    told = tmp_path / "processes"
    assert scored_by("leave_processes", response, answer=str(told)) == [reward]
    assert not any(map(is_left, pids(told)))


def test_those_in_its_group_end_also_when_it_kills_itself(tmp_path):
    told = tmp_path / "processes"
    assert scored_by("leave_processes", "kill", answer=str(told)) == [-1.0]
    child, alone, away = pids(told)
    assert not is_left(child)
    assert not is_left(alone)
    with suppress(psutil.NoSuchProcess):  # it left the group, and may be found in time or not
        psutil.Process(away).kill()


def pids(told):
    found = [int(line) for line in told.read_text().split()]
    assert len(found) == 3
    return found


def is_left(pid):
    """A process that was killed takes a moment to be gone, and may wait for whom to tell."""
    try:
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            process.wait(10)
        return False
    except psutil.NoSuchProcess:
        return False
    except psutil.TimeoutExpired:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

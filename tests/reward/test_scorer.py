import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from slime.config.schema import ConfigError, FirstNumberReward, FunctionReward
from slime.data import Finish, Group, Prompt, Rollout
from slime.reward import Scorer
from slime.reward.process import ScoringStartError

TESTS = Path(__file__).parents[1]
MOODY = "reward.misbehaving:moody"


def groups(*responses, answer="14", per_group=2):
    rollouts = [Rollout(i, i // per_group, (), r, Finish.stop) for i, r in enumerate(responses)]
    return [
        Group(Prompt(i, f"prompt {i}", answer), tuple(rollouts[first : first + per_group]))
        for i, first in enumerate(range(0, len(rollouts), per_group))
    ]


def rewards(scored):
    return [rollout.reward for group in scored.groups for rollout in group.rollouts]


def test_every_rollout_gets_its_reward_and_nothing_else_changes():
    before = groups("14", "15", "is 14", "")
    with Scorer(FirstNumberReward()) as scorer:
        scored = scorer.score(before)
    assert rewards(scored) == [1.0, 0.0, 1.0, 0.0]
    assert scored.failures == ()
    for old, new in zip(before, scored.groups, strict=True):
        assert new.prompt == old.prompt
        for rollout, scored_rollout in zip(old.rollouts, new.rollouts, strict=True):
            assert (scored_rollout.id, scored_rollout.text) == (rollout.id, rollout.text)
            assert rollout.reward is None


def test_each_failure_costs_its_own_rollout_and_is_reported_with_it():
    config = FunctionReward(function=MOODY, failure_value=-1.0, timeout_seconds=0.5)
    responses = ["a", "raise", "b", "die", "exit", "ccc", "nan", "hang", "text", "none", "true"]
    with Scorer(config) as scorer:
        scored = scorer.score(groups(*responses))
        again = scorer.score(groups("dd"))
    assert rewards(scored) == [0.1, -1.0, 0.1, -1.0, -1.0, 0.3, -1.0, -1.0, -1.0, -1.0, 1.0]
    assert rewards(again) == [0.2]
    reasons = {failure.response: failure.reason for failure in scored.failures}
    assert reasons == {
        "raise": "ValueError: no good",
        "die": "killed its process (exit code 0)",
        "exit": "SystemExit: 3",
        "nan": "returned nan",
        "hang": "took longer than 0.5 s",
        "text": "returned '1.0', not a number",
        "none": "returned None, not a number",
    }
    died = next(failure for failure in scored.failures if failure.response == "die")
    assert (died.rollout_id, died.prompt, died.answer) == (3, "prompt 1", "14")


def test_an_answer_the_reward_cannot_read_is_a_failure_not_a_crash():
    with Scorer(FirstNumberReward(failure_value=0.25)) as scorer:
        scored = scorer.score(groups("14", answer="Paris"))
    assert rewards(scored) == [0.25]
    assert "'Paris' is not a number" in scored.failures[0].reason


def test_no_groups_are_scored_to_no_groups():
    with Scorer(FirstNumberReward()) as scorer:
        assert scorer.score([]).groups == ()


def test_a_process_that_died_between_two_calls_is_replaced():
    with Scorer(FirstNumberReward()) as scorer:
        scorer.score(groups("14"))
        [child] = scoring_processes(os.getpid())
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        scored = scorer.score(groups("14"))
    assert rewards(scored) == [1.0]
    assert scored.failures == ()


FRAGILE = """
import os
from pathlib import Path

if Path(__file__).with_name("gone").exists():
    raise RuntimeError("what it needs is gone")

def score(response, answer):
    if response == "die":
        os._exit(0)
    return 1.0
"""


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    """A reward function that cannot be imported while the file `gone` is there."""
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    yield FunctionReward(function="fragile:score", failure_value=-1.0)
    sys.modules.pop("fragile", None)


def test_a_process_that_cannot_start_again_costs_rewards_but_not_the_run(fragile, tmp_path):
    with Scorer(fragile) as scorer:
        assert rewards(scorer.score(groups("a"))) == [1.0]
        (tmp_path / "gone").touch()
        scored = scorer.score(groups("a", "die", "b", "c"))
        (tmp_path / "gone").unlink()
        again = scorer.score(groups("d"))
    assert rewards(scored) == [1.0, -1.0, -1.0, -1.0]
    assert [failure.response for failure in scored.failures] == ["die", "b", "c"]
    assert scored.failures[1].reason.startswith("ScoringStartError: the scoring process did not")
    assert "what it needs is gone" in scored.failures[1].reason
    assert (rewards(again), again.failures) == ([1.0], ())


def test_a_process_that_never_started_is_an_error(fragile, tmp_path):
    scorer = Scorer(fragile)
    (tmp_path / "gone").touch()
    with scorer, pytest.raises(ScoringStartError, match="what it needs is gone"):
        scorer.score(groups("a"))


def test_ctrl_c_reaches_the_run_but_not_its_scoring_process():
    with Scorer(FunctionReward(function=MOODY)) as scorer:
        scorer.score(groups("a"))
        [child] = scoring_processes(os.getpid())
        child.send_signal(signal.SIGINT)
        scored = scorer.score(groups("a", "bb"))
        assert scoring_processes(os.getpid()) == [child]
    assert (rewards(scored), scored.failures) == ([0.1, 0.2], ())


def test_a_function_that_cannot_be_used_is_known_before_anything_starts():
    with pytest.raises(ConfigError, match="cannot import"):
        Scorer(FunctionReward(function="reward.nowhere:f"))


def test_no_process_is_left_when_the_scorer_is_left():
    with Scorer(FirstNumberReward()):
        while not scoring_processes(os.getpid()):
            pass  # its command line shows a moment after its start
    assert not scoring_processes(os.getpid())


def scoring_processes(parent):
    """The children of `parent` that multiprocessing spawned, its resource tracker aside."""
    children = psutil.Process(parent).children(recursive=True)
    return [c for c in children if "spawn_main" in " ".join(c.cmdline())]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_no_process_is_left_when_a_run_is_ended_while_a_reward_hangs(tmp_path, end):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    told = tmp_path / "pid"
    run = subprocess.Popen(
        [sys.executable, str(script), str(told)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent)))},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    child = psutil.Process(int(wait_for_text(told)))
    if end is signal.SIGINT:
        os.killpg(run.pid, end)  # what a terminal does: the child gets it too
    else:
        run.send_signal(end)
    assert run.wait(30) != 0
    child.wait(30)
    errors = run.stderr.read()
    assert errors.count("KeyboardInterrupt") == (1 if end is signal.SIGINT else 0)


# Stand-ins for a group: the real ones would import torch, twice.
RUN = """
import sys
from types import SimpleNamespace
from slime.config.schema import FunctionReward
from slime.reward import Scorer

if __name__ == "__main__":
    rollout = SimpleNamespace(text=sys.argv[1])
    group = SimpleNamespace(prompt=SimpleNamespace(answer="14"), rollouts=(rollout,))
    config = FunctionReward(function="reward.misbehaving:hang_and_tell", timeout_seconds=600.0)
    with Scorer(config) as scorer:
        scorer.score([group])
"""


def wait_for_text(path, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.02)
    raise AssertionError(f"{path} was not written")

"""cluster.address: a run joins a Ray cluster of two nodes, uses both, and leaves it as it was."""

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import TINY, launch, left_behind

SCRIPT = Path(__file__).with_name("two_nodes.py")

pytestmark = pytest.mark.slow


class TwoNodes:
    def __init__(self) -> None:
        token = secrets.token_hex(32)
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env=os.environ | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()
        assert self.address, "the cluster did not start"

    def known(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(120) == 0


@pytest.fixture(scope="module")
def cluster():
    cluster = TwoNodes()
    yield cluster
    cluster.end()


def free_again(cluster):
    """Ray gives CPUs back a moment after an actor is gone."""
    deadline = time.monotonic() + 60
    while (known := cluster.known())["cpus"] < 3 and time.monotonic() < deadline:
        pass
    return known


def test_a_run_joins_a_cluster_of_two_nodes_and_leaves_it_as_it_was(cluster, tmp_path):
    before = cluster.known()
    assert len(before["nodes"]) == 2
    done = launch(
        tmp_path,
        *TINY,
        "iterations=2",
        "parallel.data=2",
        f"cluster.address={cluster.address}",
        **cluster.environment,
    )
    assert done.exit_code == 0, done.stderr
    assert [record["step"] for record in done.steps()] == [0, 1]
    after = free_again(cluster)
    assert sorted(after["nodes"]) == sorted(before["nodes"])
    assert after["cpus"] == 3
    kinds = sorted(kind for kind, _, _ in after["actors"])
    assert kinds == ["EngineActor", "TrainActor", "TrainActor"]
    assert {state for _, state, _ in after["actors"]} == {"DEAD"}
    assert {node for _, _, node in after["actors"]} == set(before["nodes"])
    assert not left_behind(tmp_path)


def test_a_run_that_needs_more_than_the_cluster_has_says_so(cluster, tmp_path):
    done = launch(
        tmp_path, *TINY, "parallel.data=3", f"cluster.address={cluster.address}",
        **cluster.environment,
    )  # fmt: skip
    assert done.exit_code == 2
    assert f"config error: cluster.address={cluster.address}: the cluster has 3 free CPUs" in (
        done.stderr
    )


def test_a_run_without_the_token_of_the_cluster_does_not_get_in(cluster, tmp_path):
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = launch(tmp_path, *TINY, f"cluster.address={cluster.address}", **wrong)
    assert done.exit_code == 2, done.stderr
    assert f"config error: cluster.address={cluster.address}: " in done.stderr
    assert len(cluster.known()["nodes"]) == 2

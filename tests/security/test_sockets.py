"""What a running job listens on."""

import os
import subprocess
import sys

import psutil
import pytest
from killing import lines
from launching import TINY, finish, left_behind, start

pytestmark = pytest.mark.slow

WITHOUT_TOKEN = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=20)
except Exception as refused:
    print(type(refused).__name__, refused)
else:
    print("let in")
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("job")
    run = start(cwd, *TINY, "iterations=1000", "parallel.data=2", "hydra.run.dir=run")
    while lines(cwd / "run") < 2:
        assert run.poll() is None, run.communicate()[1]
    yield left_behind(cwd)
    os.killpg(run.pid, 2)
    finish(run, cwd)
    assert not left_behind(cwd)


def command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_every_socket_of_a_running_job_is_on_the_loopback_interface(job):
    listening = {}
    for process in job:
        try:
            for connection in process.net_connections():
                if connection.status == psutil.CONN_LISTEN:
                    host = connection.laddr.ip.removeprefix("::ffff:")
                    listening.setdefault(host, []).append(command(process)[:80])
        except psutil.NoSuchProcess:
            continue
    assert set(listening) == {"127.0.0.1"}, listening
    assert len(listening["127.0.0.1"]) > 3


def test_there_is_no_dashboard(job):
    """Ray keeps its process for other things, without pages and without what takes jobs."""
    commands = [command(process) for process in job]
    [rest] = [text for text in commands if "dashboard/dashboard.py" in text]
    assert "--disable-frontend" in rest
    assert "--modules-to-load=UsageStatsHead " in rest


def test_who_has_no_token_is_not_let_in(job):
    [gcs] = [p for p in job if "gcs_server" in command(p).partition(" ")[0]]
    ports = {c.laddr.port for c in gcs.net_connections() if c.status == psutil.CONN_LISTEN}
    named = [a.partition("=")[2] for a in gcs.cmdline() if a.startswith("--gcs_server_port=")]
    [port] = [int(text) for text in named if int(text)] or ports
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TOKEN, f"127.0.0.1:{port}"],
        env=environment | {"RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "let in" not in done.stdout
    assert "nauthenticated" in done.stdout + done.stderr

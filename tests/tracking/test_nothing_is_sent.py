"""Without being told to, a tracker talks to nobody and leaves nothing running."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from tracking.run_directory import run_directory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def proxy():
    """A listener that every request to the outside would go through.  -> its URL, its callers"""
    listener = socket.create_server(("127.0.0.1", 0))
    callers = []

    def listen():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            callers.append(connection.recv(100))
            connection.close()

    threading.Thread(target=listen, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", callers
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def environment(proxy: str, home: Path) -> dict[str, str]:
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxies = dict.fromkeys((*names, *map(str.lower, names)), proxy)
    # They go quiet by themselves where they see a test.
    unseen = {"CI", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "NO_PROXY", "no_proxy"}
    kept = {name: value for name, value in os.environ.items() if name not in unseen}
    return kept | proxies | {"HOME": str(home), "PYTHONPATH": str(ROOT), "WANDB_API_KEY": "k" * 40}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_sends_nothing_and_says_nothing_and_ends(name, proxy, tmp_path):
    url, callers = proxy
    directory = run_directory(tmp_path)
    script = Path(__file__).with_name("track_once.py")
    done = subprocess.run(
        [sys.executable, str(script), name, str(directory)],
        cwd=tmp_path,
        env=environment(url, tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert callers == []
    assert (done.stdout, done.stderr) == ("", "")
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info)]
    written = {path.name for path in tmp_path.iterdir()}
    assert written <= {"20260101-120000", ".cache", ".config", ".local"}

import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("vocabulary_worker.py")


def test_two_processes_that_share_the_vocabulary_agree_with_one_that_has_all_of_it(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), tmp_path / "meeting"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)

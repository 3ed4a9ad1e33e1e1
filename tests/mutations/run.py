"""Break the loss in every listed way and see that the named test notices.

    python -m tests.mutations.run [part of a name]

Works on a copy of the tree.  Exit code 1 when a mutation survives or does not apply any more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from tests.mutations.advantages import ADVANTAGES
from tests.mutations.mutation import Mutation
from tests.mutations.scaling import SCALING
from tests.mutations.terms import TERMS
from tests.mutations.weights import WEIGHTS

ROOT = Path(__file__).parents[2]
MUTATIONS = (*WEIGHTS, *ADVANTAGES, *TERMS, *SCALING)

_COPIED = ("slime", "tests", "conf", "docs", "recipes", "pyproject.toml", "launch.py")
_TIMEOUT_SECONDS = 1200  # of all tests at once on a crowded machine; a mutation may also hang
_TESTS_FAILED = 1  # pytest's exit code; 2 and more say that it could not run them


class Verdict(Enum):
    caught = "caught"
    survived = "SURVIVED"
    hangs = "HANGS"  # a hang is noticed, but by nobody who says what is wrong
    no_such_text = "DOES NOT APPLY"
    broken = "THE TEST DOES NOT RUN"


def judge(mutation: Mutation, tree: Path) -> tuple[Verdict, str]:
    """-> and what there is to say about it"""
    file = tree / mutation.file
    text = file.read_text()
    try:
        mutated = mutation.applied_to(text)
    except ValueError as problem:
        return Verdict.no_such_text, str(problem)
    file.write_text(mutated)
    try:
        code, output = run_tests([mutation.caught_by], tree)
    except subprocess.TimeoutExpired:
        return Verdict.hangs, ""
    finally:
        file.write_text(text)
    if code == 0:
        return Verdict.survived, ""
    if code == _TESTS_FAILED:
        return Verdict.caught, ""
    return Verdict.broken, output


def run_tests(nodes: Sequence[str], tree: Path) -> tuple[int, str]:
    """-> pytest's exit code and the end of what it wrote"""
    slow_too = ["-m", ""]
    options = ["-q", "-x", "-W", "ignore", "-p", "no:cacheprovider", *slow_too]
    hypothesis = ["--hypothesis-seed=0", "-p", "tests.mutations.unshrunk"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *hypothesis, *nodes],
        cwd=tree,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
    )
    return done.returncode, (done.stdout + done.stderr)[-2000:]


@contextmanager
def copied_tree():
    with tempfile.TemporaryDirectory(prefix="slime-mutations-") as folder:
        tree = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
                shutil.copytree(source, tree / name, ignore=ignored)
            else:
                shutil.copy(source, tree / name)
        yield tree


def main(words: Sequence[str]) -> int:
    chosen = [m for m in MUTATIONS if all(word in m.name for word in words)]
    with copied_tree() as tree:
        code, output = run_tests(sorted({m.caught_by for m in chosen}), tree)
        if code:
            print(f"the tests fail on the code as it is:\n{output}")
            return 1
        verdicts = [_shown(mutation, tree) for mutation in chosen]
    caught = verdicts.count(Verdict.caught)
    print(f"{caught} of {len(verdicts)} mutations are caught")
    return 0 if chosen and caught == len(verdicts) else 1


def _shown(mutation: Mutation, tree: Path) -> Verdict:
    start = time.monotonic()
    verdict, remark = judge(mutation, tree)
    test = mutation.caught_by.split("::")[1]
    print(f"{verdict.value:8} {time.monotonic() - start:4.0f} s  {mutation.name:70} {test}")
    if remark:
        print(f"    {remark}")
    sys.stdout.flush()
    return verdict


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Reward functions that a model's answer can drive anywhere."""

import os
import subprocess
import sys


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError


def leave_processes(response: str, answer: str) -> float:
    """Three of them, that end only when they are ended; their numbers go to the file `answer`.

    One is a child, one has lost its parent, one has left the group of its parent too.
    """
    sleep = "import os, time; print(os.getpid(), flush=True); time.sleep(1e6)"
    alone = f"import os; os.fork() and os._exit(0); {sleep}"
    away = f"import os; os.fork() and os._exit(0); os.setsid(); {sleep}"
    for program in (sleep, alone, away):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        with open(answer, "ab") as file:
            file.write(child.stdout.readline())
    if response == "hang":
        while True:
            pass
    if response == "kill":
        os.kill(os.getpid(), 9)
    return 1.0


def calculate(response: str, answer: str) -> float:  # noqa: ARG001
    """As careless as can be."""
    match response:
        case "memory":
            return float(len("x" * (2 << 30)))
        case "digits":
            return 10**400
        case "print":
            sys.stdout.write("x" * 10_000_000)
            sys.stderr.write("y" * 10_000_000)
            return 0.5
        case "long error":
            raise ValueError("x" * 10_000_000)
        case "long value":
            return "x" * 10_000_000
        case "lines":
            raise ValueError("a\nb\nc")
        case "power":
            return float(9**9**9)
        case "backtracking":
            import re

            return float(re.fullmatch("(a|a)*b", "a" * 60) is not None)
        case "unspeakable":
            raise Unspeakable
        case "fork":
            if os.fork() == 0:
                return 0.25
            os.wait()
            return 0.5
        case "descriptors":
            os.write(1, b"x" * 1_000_000)
            os.write(2, b"y" * 1_000_000)
            sys.stdout.buffer.write(b"x" * 1_000_000)
            return 0.5
        case "surrogate":
            sys.stdout.write("\ud800")
            return 0.5
        case "closed":
            sys.stdout.close()
            sys.stderr.close()
            return 0.5
        case "kill":
            os.kill(os.getpid(), 9)
    return 1.0

"""Reward functions that a model's answer can drive anywhere."""

import os
import sys


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
        case "kill":
            os.kill(os.getpid(), 9)
    return 1.0

"""`config warning: ...` lines on stderr: what is legal but surely not what was meant."""

import sys
from collections.abc import Iterable

PREFIX = "config warning:"


def warn(lines: Iterable[str]) -> None:
    """Print each line once, however often it comes."""
    for line in dict.fromkeys(lines):
        print(PREFIX, line, file=sys.stderr, flush=True)

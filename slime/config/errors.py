"""Whatever is wrong before a run starts -> `config error: ...` lines on stderr and exit code 2."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from slime.config.explain import explain
from slime.reading import in_one_line

CONFIG_ERROR = 2


def report(error: BaseException) -> bool:
    """Print each problem in `error` as a config error; False if it is no mistake in a config.

    HYDRA_FULL_ERROR=1 in the environment asks for the trace too.
    """
    lines = explain(error)
    if lines and os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    for line in lines:
        print("config error:", in_one_line(line), file=sys.stderr)
    return bool(lines)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a mistake in the config and exit with 2; every other exception passes."""
    try:
        yield
    except Exception as error:
        if not report(error):
            raise
        sys.exit(CONFIG_ERROR)

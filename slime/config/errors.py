"""Whatever is wrong before a run starts -> `config error: ...` lines on stderr and exit code 2."""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from slime.config.explain import explain

CONFIG_ERROR = 2
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def report(error: BaseException) -> bool:
    """Print each problem in `error` as a config error; False if it is no mistake in a config.

    HYDRA_FULL_ERROR=1 in the environment asks for the trace too.
    """
    lines = explain(error)
    if lines and os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    for line in lines:
        print("config error:", line, file=sys.stderr)
    return bool(lines)


def disk_problem(error: BaseException) -> str | None:
    """In words, that a disk did not take what was written to it; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _DISK:
        return None
    where = f" {error.filename}" if error.filename else ""
    return f"cannot write{where}: {error.strerror}"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a mistake in the config and exit with 2; every other exception passes."""
    try:
        yield
    except Exception as error:
        if not report(error):
            raise
        sys.exit(CONFIG_ERROR)

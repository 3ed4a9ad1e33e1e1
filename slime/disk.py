"""A disk that does not take what is written to it: nobody's mistake in a config, and no bug."""

import errno

_KINDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def disk_problem(error: BaseException) -> str | None:
    """In words; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _KINDS:
        return None
    where = f" {error.filename}" if error.filename else ""
    return f"cannot write{where}: {error.strerror}"

"""What memory scoring one response may take."""

import resource
from pathlib import Path

_GIB = 1 << 30


def limit_memory(gib: float) -> None:
    """From here on this process gets so much more memory; who wants more has a MemoryError.

    Its own memory, which is what RLIMIT_DATA counts, and not what it shares.  RLIMIT_AS would count
    that, but also what is only reserved: 64 MiB for each thread, and for a GPU more than there is.
    No core is written when it dies.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])  # data and stack
    most = pages * resource.getpagesize() + int(gib * _GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

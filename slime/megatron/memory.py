"""A pass that did not fit into memory, told as what to write instead."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from slime.config.schema import ConfigError, ParallelConfig

# Of torch's own allocator for the CPU, whose error has no class of its own; and of C++.
_CPU_MESSAGES = ("can't allocate memory", "bad_alloc")


@contextmanager
def enough_memory(parallel: ParallelConfig) -> Iterator[None]:
    """Raises ConfigError in the place of an error that says that memory is exhausted."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _is_out_of_memory(error):
            raise
        raise ConfigError(
            f"a step does not fit into the memory of a train worker: {_what_to_write(parallel)}"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(message in str(error) for message in _CPU_MESSAGES)


def _what_to_write(parallel: ParallelConfig) -> str:
    if parallel.microbatches is not None:
        return (
            f"parallel.microbatches={parallel.microbatches}, write more of them, or null and a "
            "parallel.max_tokens_per_microbatch"
        )
    bound = parallel.max_tokens_per_microbatch
    return f"parallel.max_tokens_per_microbatch={bound}, write less"

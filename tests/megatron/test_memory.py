"""A step for which the memory does not suffice says which number to lower."""

import resource
from pathlib import Path

import pytest
import torch
from processes import run_processes

from slime.config.schema import ConfigError, ParallelConfig
from slime.megatron.memory import enough_memory

PARALLEL = ParallelConfig(max_tokens_per_microbatch=4096)


def starve(_rank: int) -> str:
    """What a tensor that does not fit raises, from the operating system itself."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
    try:
        with enough_memory(PARALLEL):
            torch.ones(1 << 30)
    except ConfigError as error:
        return str(error)
    return "it fitted"


def test_a_cpu_without_memory_names_the_key_to_lower():
    [message] = run_processes(1, starve)
    assert message == (
        "a step does not fit into the memory of a train worker: "
        "parallel.max_tokens_per_microbatch=4096, write less"
    )


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_a_gpu_without_memory_says_the_same(error):
    with pytest.raises(ConfigError, match="max_tokens_per_microbatch=4096, write less"):
        raise_inside(error)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"):
        raise_inside(RuntimeError("shapes differ"))


def test_a_number_of_micro_batches_is_to_be_raised():
    parallel = ParallelConfig(microbatches=2)
    with pytest.raises(ConfigError, match="microbatches=2, write more"), enough_memory(parallel):
        raise MemoryError


def raise_inside(error: Exception) -> None:
    with enough_memory(PARALLEL):
        raise error

"""What a machine has: this one, or the one that plan.* describes."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from slime.config.schema import ConfigError, PlanConfig

GIB = 2**30
_DEVICES = Path("/dev")
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Machine:
    """In bytes; None: not known, and then not judged."""

    memory: int | None
    gpus: int
    gpu_memory: int  # of each

    @property
    def has_gpus(self) -> bool:
        return self.gpus > 0


def this_machine() -> Machine:
    """torch is imported only where there may be a GPU."""
    gpus, gpu_memory = _gpus()
    return Machine(_main_memory(), gpus, gpu_memory)


def machine_of(plan: PlanConfig) -> Machine:
    """The machine to plan for.  What plan.* leaves out is that of this one.

    Of other GPUs than those here nobody knows the main memory unless it is written.
    Raises ConfigError for GPUs of unknown memory.
    """
    memory = _main_memory() if plan.memory_gib is None else int(plan.memory_gib * GIB)
    if plan.gpus is None and plan.gpu_memory_gib is None:
        gpus, gpu_memory = _gpus()
        return Machine(memory, gpus, gpu_memory)
    found, found_memory = _gpus()
    gpus = found if plan.gpus is None else plan.gpus
    gpu_memory = found_memory if plan.gpu_memory_gib is None else int(plan.gpu_memory_gib * GIB)
    if plan.gpu_memory_gib is not None and not gpus:
        raise ConfigError(
            f"plan.gpu_memory_gib={plan.gpu_memory_gib:g} is the memory of each of plan.gpus, and "
            f"there are none: write plan.gpus=<how many>"
        )
    if gpus and not gpu_memory:
        raise ConfigError(
            f"plan.gpus={gpus}: this machine has no GPU to take the memory from; write "
            f"plan.gpu_memory_gib=<GiB of each>"
        )
    if gpus and plan.memory_gib is None:
        return Machine(None, gpus, gpu_memory)
    return Machine(memory, gpus, gpu_memory)


def _main_memory() -> int:
    """A container may have less than the machine."""
    total: int = psutil.virtual_memory().total
    try:
        limit = _CONTAINER_LIMIT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _gpus() -> tuple[int, int]:
    """-> how many, and the memory of the smallest; (0, 0) without torch or a driver"""
    if not (any(_DEVICES.glob("nvidia[0-9]*")) or (_DEVICES / "kfd").exists()):
        return 0, 0
    try:
        import torch
    except ImportError:
        return 0, 0
    if not torch.cuda.is_available():
        return 0, 0
    count = torch.cuda.device_count()
    memory = [torch.cuda.get_device_properties(n).total_memory for n in range(count)]
    return count, min(memory)

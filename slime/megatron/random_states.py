"""The states of every random generator of a train worker's process, as tensors by name."""

import random

import numpy as np
import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from torch import Tensor

_TRACKED = "megatron."


def random_states() -> dict[str, Tensor]:
    """All of them, on the CPU."""
    _, python, _ = random.getstate()
    _, numpy, position, *_ = np.random.get_state(legacy=True)
    states = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(python),
        "numpy": torch.tensor([*map(int, numpy), int(position)]),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    tracked = get_cuda_rng_tracker().get_states()
    return states | {f"{_TRACKED}{name}": state.cpu() for name, state in tracked.items()}


def set_random_states(states: dict[str, Tensor]) -> None:
    """Go on from what random_states() gave, in a process with the same generators."""
    torch.set_rng_state(states["torch"])
    random.setstate((3, tuple(states["python"].tolist()), None))
    *numpy, position = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(numpy, dtype=np.uint32), position, 0, 0.0))
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
    tracked = {n.removeprefix(_TRACKED): s for n, s in states.items() if n.startswith(_TRACKED)}
    get_cuda_rng_tracker().set_states(tracked)

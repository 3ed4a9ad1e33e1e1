"""A model that computes in another precision for a while, with the weights it has."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def computing_in(dtype: torch.dtype, model: nn.Module) -> Iterator[None]:
    """Inside the block the parameters are copies in `dtype`; after it, those they were.

    Nothing is copied where they have that dtype already.
    """
    own = [(parameter, parameter.data) for parameter in model.parameters()]
    try:
        for parameter, data in own:
            parameter.data = data.to(dtype)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data

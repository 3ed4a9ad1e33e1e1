"""parallel.precision as a torch dtype: the trainer and the engine must agree on it."""

import torch

from slime.config.schema import Precision


def dtype_of(precision: Precision) -> torch.dtype:
    """In this process: auto is bfloat16 where there is a GPU and float32 where there is none."""
    match precision:
        case Precision.float32:
            return torch.float32
        case Precision.bfloat16:
            return torch.bfloat16
        case Precision.auto:
            return torch.bfloat16 if torch.cuda.is_available() else torch.float32

"""How far rounding may take a right computation from the reference, as relative errors."""

from dataclasses import dataclass

import torch

EXACT = 2e-5  # what float32 leaves of a small model


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Of the loss and the metrics, of the gradient norm, of the worst element of any parameter."""

    value: float
    norm: float
    parameter: float


def of_small_model(precision: torch.dtype) -> Tolerances:
    """Of a few layers.  In float32 2e-6 was measured, in bfloat16 1e-2, 1e-2 and 5e-2."""
    if precision == torch.float32:
        return Tolerances(EXACT, EXACT, EXACT)
    return Tolerances(value=3e-2, norm=3e-2, parameter=2e-1)


def of_whole_model(precision: torch.dtype) -> Tolerances:
    """Of dozens of layers, through which rounding grows.

    SmolLM2-135M: the float32 gradient of transformers itself is 2e-4 off its float64 one, in the
    worst parameter; in bfloat16 the trainer's was off by 4e-2 (norm) and 6e-1 (worst parameter).
    """
    if precision == torch.float32:
        return Tolerances(value=1e-4, norm=2e-4, parameter=1e-3)
    # Less than 1: a parameter without any gradient, or with twice its own, is off by 1.
    return Tolerances(value=5e-2, norm=1e-1, parameter=8e-1)

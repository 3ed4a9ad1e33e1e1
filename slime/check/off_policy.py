"""Log-probs near the model's own, so far off that every bound of the loss is met on both sides.

They keep a distance from the bounds: a token whose ratio rounding moves across one would count in
one computation and not in the other.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from slime.config.schema import (
    CISPO,
    GSPO,
    PPO,
    TIS,
    CorrectionConfig,
    IcePop,
    ObjectiveConfig,
)

REACH = 0.4  # nats beyond a bound
_DISTANCES = {torch.float32: 3e-5, torch.bfloat16: 0.15}  # nats from a bound: what rounding moves


class OffPolicy:
    """Draws log-probs [R] float32 of samples."""

    def __init__(self, precision: torch.dtype, seed: int) -> None:
        self._distance = _DISTANCES[precision]
        self._random = torch.Generator().manual_seed(seed)

    def old(self, current_R: Tensor, mask_R: Tensor, objective: ObjectiveConfig) -> Tensor:
        """Such that current / old is on every side of the bounds of the objective."""
        bounds = _ratio_bounds(objective)
        if not isinstance(objective, GSPO):
            return (current_R - self._log_ratios(bounds, len(current_R))).float()
        noise_R = self._noise(len(current_R))
        mean = noise_R[mask_R].mean() if mask_R.any() else 0.0
        return (current_R - (noise_R - mean + self._log_ratios(bounds, 1))).float()

    def rollout(self, old_R: Tensor, correction: CorrectionConfig) -> Tensor:
        """Such that old / rollout is on every side of what the correction keeps."""
        return (
            old_R.double() - self._log_ratios(_correction_bounds(correction), len(old_R))
        ).float()

    def reference(self, current_R: Tensor) -> Tensor:
        """Of a reference model that the current one has moved away from."""
        return (current_R + self._noise(len(current_R))).float()

    def _noise(self, count: int) -> Tensor:
        return 0.3 * torch.randn(count, generator=self._random, dtype=torch.float64)

    def _log_ratios(self, bounds: Sequence[float], count: int) -> Tensor:
        """Each from one of the regions between the bounds, with equal chances.  -> [count]"""
        regions = torch.tensor(list(self._regions(bounds)), dtype=torch.float64)
        picked = torch.randint(len(regions), (count,), generator=self._random)
        share = torch.rand(count, generator=self._random, dtype=torch.float64)
        start, end = regions[picked].unbind(1)
        return start + share * (end - start)

    def _regions(self, bounds: Sequence[float]) -> Iterator[tuple[float, float]]:
        """From one bound to the next, and no further than REACH from 0 or from a bound."""
        for low, high in pairwise((-math.inf, *sorted(bounds), math.inf)):
            start, end = low + self._distance, high - self._distance
            start, end = max(start, min(-REACH, end - REACH)), min(end, max(REACH, start + REACH))
            if start < end:
                yield start, end


def _ratio_bounds(objective: ObjectiveConfig) -> list[float]:
    """Of log(current / old)."""
    match objective:
        case PPO() | GSPO() | CISPO():
            bounds = [1 - objective.clip_low, 1 + objective.clip_high]
        case _:
            bounds = []
    if isinstance(objective, PPO) and objective.dual_clip is not None:
        bounds.append(objective.dual_clip)
    return [math.log(bound) for bound in bounds if bound > 0]


def _correction_bounds(correction: CorrectionConfig) -> list[float]:
    """Of log(old / rollout)."""
    match correction:
        case TIS():
            bounds = [correction.cap]
        case IcePop():
            bounds = [correction.low, correction.high]
        case _:
            bounds = []
    return [math.log(bound) for bound in bounds if bound > 0]

"""Log-probs near the model's own, so far off that every bound of the loss is met on both sides.

They keep a distance from the bounds: a token whose ratio rounding moves across one would count in
one computation and not in the other.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slime.config.schema import GSPO, PPO, TIS, CorrectionConfig, IcePop

REACH = 0.4  # nats beyond a bound
_DISTANCES = {torch.float32: 3e-5, torch.bfloat16: 0.15}  # nats from a bound: what rounding moves


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of the logarithm of a ratio."""

    low: float
    high: float


class OffPolicy:
    """Draws log-probs [R] float32 of samples."""

    def __init__(self, precision: torch.dtype, seed: int) -> None:
        self._distance = _DISTANCES[precision]
        self._random = torch.Generator().manual_seed(seed)

    def old(self, current_R: Tensor, mask_R: Tensor, objective: PPO) -> Tensor:
        """Such that current / old is below, within and above the clip range."""
        bounds = Bounds(math.log(1 - objective.clip_low), math.log(1 + objective.clip_high))
        if not isinstance(objective, GSPO):
            return (current_R - self._log_ratios(bounds, len(current_R))).float()
        noise_R = self._noise(len(current_R))
        mean = noise_R[mask_R].mean() if mask_R.any() else 0.0
        return (current_R - (noise_R - mean + self._log_ratios(bounds, 1))).float()

    def rollout(self, old_R: Tensor, correction: CorrectionConfig) -> Tensor:
        """Such that old / rollout is below, within and above what the correction keeps."""
        return (
            old_R.double() - self._log_ratios(_correction_bounds(correction), len(old_R))
        ).float()

    def reference(self, current_R: Tensor) -> Tensor:
        """Of a reference model that the current one has moved away from."""
        return (current_R + self._noise(len(current_R))).float()

    def _noise(self, count: int) -> Tensor:
        return 0.3 * torch.randn(count, generator=self._random, dtype=torch.float64)

    def _log_ratios(self, bounds: Bounds, count: int) -> Tensor:
        """Each from one of the regions that the bounds make, with equal chances.  -> [count]"""
        regions = torch.tensor(self._regions(bounds), dtype=torch.float64)
        picked = torch.randint(len(regions), (count,), generator=self._random)
        share = torch.rand(count, generator=self._random, dtype=torch.float64)
        start, end = regions[picked].unbind(1)
        return start + share * (end - start)

    def _regions(self, bounds: Bounds) -> list[tuple[float, float]]:
        regions = []
        low, high = bounds.low + self._distance, bounds.high - self._distance
        inside = (max(low, min(-REACH, high - REACH)), min(high, max(REACH, low + REACH)))
        if inside[0] < inside[1]:
            regions.append(inside)
        if bounds.low > -math.inf:
            start = bounds.low - self._distance
            regions.append((start - REACH, start))
        if bounds.high < math.inf:
            end = bounds.high + self._distance
            regions.append((end, end + REACH))
        return regions


def _correction_bounds(correction: CorrectionConfig) -> Bounds:
    match correction:
        case TIS():
            return Bounds(-math.inf, math.log(correction.cap))
        case IcePop():
            low = math.log(correction.low) if correction.low > 0 else -math.inf
            return Bounds(low, math.log(correction.high))
        case _:
            return Bounds(-math.inf, math.inf)

"""The first step of AdamW, from its formulas in float64.  arXiv:1711.05101, algorithm 2."""

import math
from collections.abc import Mapping

import numpy as np

from slime.config.schema import AdamConfig


def first_step(
    weights: Mapping[str, np.ndarray], gradient: Mapping[str, np.ndarray], adam: AdamConfig
) -> dict[str, np.ndarray]:
    """-> the weights after it.  Norms and biases are not decayed."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradient.values()))
    clipped = min(1.0, adam.clip_grad / norm)
    stepped = {}
    for name, before in weights.items():
        g = clipped * gradient[name]
        first = (1 - adam.beta1) * g / (1 - adam.beta1)
        second = (1 - adam.beta2) * g**2 / (1 - adam.beta2)
        decay = adam.weight_decay * before if before.ndim > 1 else 0.0
        update = first / (np.sqrt(second) + adam.eps) + decay
        stepped[name] = before - adam.learning_rate * update
    return stepped

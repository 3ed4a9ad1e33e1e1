"""The loss of a step from the formulas, in Python floats (float64) and loops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


def step_weights(
    mode: str,
    active: Sequence[int],
    rollouts: Sequence[int],
    prompts: Sequence[int],
    *,
    drop_empty: bool = False,
    divisor: float = 1.0,
) -> list[float]:
    def tokens(ids: Sequence[int], unit: int) -> int:
        return sum(a for a, i in zip(active, ids, strict=True) if i == unit)

    def units(ids: Sequence[int]) -> int:
        return sum(1 for unit in set(ids) if tokens(ids, unit) > 0 or not drop_empty)

    weights = []
    for a, rollout, prompt in zip(active, rollouts, prompts, strict=True):
        if a == 0:
            weights.append(Fraction(0))
        elif mode == "sample_mean":
            weights.append(Fraction(1, units(rollouts) * tokens(rollouts, rollout)))
        elif mode == "prompt_mean":
            weights.append(Fraction(1, units(prompts) * tokens(prompts, prompt)))
        elif mode == "token_mean":
            weights.append(Fraction(1, sum(active)))
        elif mode == "constant":
            weights.append(1 / (units(rollouts) * Fraction(divisor)))
    return [float(w) for w in weights]


@dataclass(frozen=True)
class Token:
    """Everything the loss may read about one response token."""

    current: float
    advantage: float
    weight: float
    auxiliary_weight: float
    active: bool = True
    rollout: float = 0.0
    entropy: float = 0.0
    old: float | None = None
    reference: float = 0.0


SUMS = (
    "pg_loss",
    "kl_loss",
    "entropy_loss",
    "active_tokens",
    "entropy",
    "kl",
    "ratio",
    "clipped_low",
    "clipped_high",
    "rollout_logprob_abs_diff",
)


def surrogate(ratio: float, advantage: float, low: float, high: float) -> float:
    """PPO's clipped surrogate by its regions, as drawn in figure 1 of arXiv:1707.06347."""
    if advantage > 0 and ratio > 1 + high:
        return (1 + high) * advantage
    if advantage < 0 and ratio < 1 - low:
        return (1 - low) * advantage
    return ratio * advantage


def kl(estimator: str | None, current: float, reference: float) -> float:
    log_r = reference - current
    match estimator:
        case "k1":
            return -log_r
        case "k2":
            return log_r**2 / 2
        case "k3":
            return math.exp(log_r) - 1 - log_r
        case _:
            return 0.0


def metric_sums(
    tokens: Sequence[Token],
    *,
    low: float,
    high: float,
    estimator: str | None = None,
    kl_coefficient: float = 0.0,
    entropy_coefficient: float = 0.0,
) -> dict[str, float]:
    sums = dict.fromkeys(SUMS, 0.0)
    for t in tokens:
        if not t.active:
            continue
        ratio = 1.0 if t.old is None else math.exp(t.current - t.old)
        estimate = kl(estimator, t.current, t.reference)
        sums["pg_loss"] -= t.weight * surrogate(ratio, t.advantage, low, high)
        sums["kl_loss"] += t.auxiliary_weight * kl_coefficient * estimate
        sums["entropy_loss"] -= t.auxiliary_weight * entropy_coefficient * t.entropy
        sums["active_tokens"] += 1
        sums["entropy"] += t.entropy
        sums["kl"] += estimate
        sums["ratio"] += ratio
        sums["clipped_low"] += t.advantage < 0 and ratio < 1 - low
        sums["clipped_high"] += t.advantage > 0 and ratio > 1 + high
        trainer = t.current if t.old is None else t.old
        sums["rollout_logprob_abs_diff"] += abs(trainer - t.rollout)
    sums["loss"] = sums["pg_loss"] + sums["kl_loss"] + sums["entropy_loss"]
    return sums

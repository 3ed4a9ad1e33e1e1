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
    sequence: int = 0  # which sample it belongs to


SUMS = (
    "pg_loss",
    "kl_loss",
    "entropy_loss",
    "active_tokens",
    "entropy",
    "kl",
    "ratio",
    "clip_fraction_low",
    "clip_fraction_high",
    "rollout_logprob_abs_diff",
    "correction_ratio",
    "correction_fraction",
)


def surrogate(ratio: float, advantage: float, low: float, high: float) -> float:
    """PPO's clipped surrogate by its regions, as drawn in figure 1 of arXiv:1707.06347."""
    if advantage > 0 and ratio > 1 + high:
        return (1 + high) * advantage
    if advantage < 0 and ratio < 1 - low:
        return (1 - low) * advantage
    return ratio * advantage


@dataclass(frozen=True)
class Term:
    """Of one token, to minimise; slope: along its log-prob; low, high: which bound was met."""

    value: float
    slope: float
    low: bool = False
    high: bool = False


def objective_term(kind: tuple[object, ...], token: Token) -> Term:
    """kind: the name of an objective with its bounds of the ratio."""
    ratio, a = token_ratio(token), token.advantage
    match kind:
        case ("dual", low, high, dual):  # arXiv:1912.09729 eq. 5: max(min(r A, clip(r) A), c A)
            if a < 0 and ratio > dual:
                return Term(-dual * a, 0.0, high=True)
            value = -surrogate(ratio, a, 1 - low, high - 1)
            below, above = a < 0 and ratio < low, a > 0 and ratio > high
            return Term(value, 0.0 if below or above else value, below, above)
        case ("cispo", low, high):  # arXiv:2506.13585 eq. 4: the weight is a number
            weight = low if ratio < low else high if ratio > high else ratio
            return Term(-weight * a * token.current, -weight * a, ratio < low, ratio > high)
        case ("reinforce",):
            return Term(-ratio * a, -ratio * a)
        case ("sft",):
            return Term(-token.current, -1.0)
    raise ValueError(kind)


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


def token_ratio(token: Token) -> float:
    return 1.0 if token.old is None else math.exp(token.current - token.old)


def sequence_ratio(token: Token, tokens: Sequence[Token]) -> float:
    """The geometric mean of the ratios of the active tokens of its sample: GSPO."""
    own = [token_ratio(t) for t in tokens if t.active and t.sequence == token.sequence]
    return math.prod(ratio ** (1 / len(own)) for ratio in own)


def correction(kind: tuple[object, ...], ratio: float) -> tuple[float, bool]:
    """-> what the policy-gradient term is multiplied by, and whether a bound took effect"""
    match kind:
        case ("tis", cap):
            return (cap, True) if ratio > cap else (ratio, False)
        case ("icepop", low, high):
            return (ratio, False) if low <= ratio <= high else (0.0, True)
        case _:
            return 1.0, False


def metric_sums(
    tokens: Sequence[Token],
    *,
    low: float,
    high: float,
    estimator: str | None = None,
    kl_coefficient: float = 0.0,
    entropy_coefficient: float = 0.0,
    corrected: tuple[object, ...] = ("none",),
    whole_sequences: bool = False,
) -> dict[str, float]:
    sums = dict.fromkeys(SUMS, 0.0)
    for t in tokens:
        if not t.active:
            continue
        ratio = sequence_ratio(t, tokens) if whole_sequences else token_ratio(t)
        estimate = kl(estimator, t.current, t.reference)
        trainer = t.current if t.old is None else t.old
        mismatch = math.exp(trainer - t.rollout)
        factor, changed = correction(corrected, mismatch)
        sums["pg_loss"] -= t.weight * factor * surrogate(ratio, t.advantage, low, high)
        sums["kl_loss"] += t.auxiliary_weight * kl_coefficient * estimate
        sums["entropy_loss"] -= t.auxiliary_weight * entropy_coefficient * t.entropy
        sums["active_tokens"] += 1
        sums["entropy"] += t.entropy
        sums["kl"] += estimate
        sums["ratio"] += ratio
        sums["clip_fraction_low"] += t.advantage < 0 and ratio < 1 - low
        sums["clip_fraction_high"] += t.advantage > 0 and ratio > 1 + high
        sums["rollout_logprob_abs_diff"] += abs(trainer - t.rollout)
        sums["correction_ratio"] += mismatch
        sums["correction_fraction"] += changed
    sums["loss"] = sums["pg_loss"] + sums["kl_loss"] + sums["entropy_loss"]
    return sums

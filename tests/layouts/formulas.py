"""Step weights, advantages and token terms from the papers' formulas, in Python floats and loops.

Shares no code with slime.  A formula's slope stands beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """What the weight of a sample may depend on."""

    rollout: int
    prompt: int
    active: int  # tokens with mask 1


def grpo_advantages(rewards: Sequence[float], epsilon: float) -> list[float]:
    """arXiv:2402.03300 section 4.1.2, with the sample standard deviation."""
    centred = centred_advantages(rewards)
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return [0.0 for _ in rewards]
    deviation = math.sqrt(sum(c * c for c in centred) / (len(rewards) - 1))
    return [c / (deviation + epsilon) for c in centred]


def centred_advantages(rewards: Sequence[float]) -> list[float]:
    """arXiv:2503.20783 section 3.2."""
    if max(rewards) == min(rewards):
        return [0.0 for _ in rewards]
    mean = sum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def weight(mode: str, sample: Unit, step: Sequence[Unit], *, drop: bool, divisor: float) -> float:
    """Of every active token of `sample`.  drop: empty rollouts and prompts are not counted.

    by_root is this test's own: 1 / (P * sqrt(M_rollout)).
    """
    if sample.active == 0:
        return 0.0
    rollouts: dict[int, int] = {}
    prompts: dict[int, int] = {}
    for unit in step:
        rollouts[unit.rollout] = rollouts.get(unit.rollout, 0) + unit.active
        prompts[unit.prompt] = prompts.get(unit.prompt, 0) + unit.active
    n = sum(1 for tokens in rollouts.values() if tokens > 0 or not drop)
    p = sum(1 for tokens in prompts.values() if tokens > 0 or not drop)
    match mode:
        case "sample_mean":
            return 1 / (n * rollouts[sample.rollout])
        case "prompt_mean":
            return 1 / (p * prompts[sample.prompt])
        case "token_mean":
            return 1 / sum(unit.active for unit in step)
        case "constant":
            return 1 / (n * divisor)
        case "by_root":
            return 1 / (len(prompts) * math.sqrt(rollouts[sample.rollout]))
    raise ValueError(mode)


def auxiliary_mode(mode: str, choice: str) -> str:
    """The mode of the KL and entropy terms, where `mode` is that of the policy-gradient term."""
    match choice:
        case "auto":
            return "token_mean" if mode == "token_mean" else "sample_mean"
        case "same":
            return mode
    return choice


@dataclass(frozen=True)
class Term:
    """A token's policy-gradient term, its slope along the log-prob, and which bound it met."""

    value: float
    slope: float
    low: bool = False
    high: bool = False


def ppo(ratio: float, advantage: float, low: float, high: float, dual: float = math.inf) -> Term:
    """The loss -min(r A, clip(r) A) by its regions: figure 1 of arXiv:1707.06347.

    dual: c of dual-clip PPO, arXiv:1912.09729 eq. 5, which keeps the loss at most -c A for A < 0.
    """
    if advantage > 0 and ratio > 1 + high:
        return Term(-(1 + high) * advantage, 0.0, high=True)
    if advantage < 0 and ratio < 1 - low:
        return Term(-(1 - low) * advantage, 0.0, low=True)
    if advantage < 0 and ratio > dual:
        return Term(-dual * advantage, 0.0, high=True)
    return Term(-ratio * advantage, -ratio * advantage)


def cispo(ratio: float, advantage: float, log_prob: float, low: float, high: float) -> Term:
    """The loss -sg(clip(r)) A log pi: arXiv:2506.13585 eq. 4 and 5."""
    weight = sorted((1 - low, ratio, 1 + high))[1]
    return Term(-weight * advantage * log_prob, -weight * advantage, weight > ratio, weight < ratio)


def reinforce(ratio: float, advantage: float) -> Term:
    """The loss -r A."""
    return Term(-ratio * advantage, -ratio * advantage)


def imitation(log_prob: float) -> Term:
    """The loss -log pi."""
    return Term(-log_prob, -1.0)


def sequence_ratio(log_ratios: Sequence[float]) -> float:
    """The geometric mean over a sample's active tokens: arXiv:2507.18071 eq. 7.

    Used as in its GSPO-token form, eq. 13 and 14: every token has this value, and the gradient of
    the value times its own log-prob.
    """
    product = 1.0
    for log_ratio in log_ratios:
        product *= math.exp(log_ratio)
    return product ** (1 / max(len(log_ratios), 1))


def kl(estimator: str, current: float, reference: float) -> tuple[float, float]:
    """-> the estimate and its slope along the current log-prob (joschu.net/blog/kl-approx.html)"""
    r = math.exp(reference - current)
    match estimator:
        case "k1":
            return -math.log(r), 1.0
        case "k2":
            return math.log(r) ** 2 / 2, -math.log(r)
        case "k3":
            return r - 1 - math.log(r), 1 - r
    return 0.0, 0.0


@dataclass(frozen=True)
class Corrected:
    """The factor on a token's policy-gradient term, and whether it was truncated or masked."""

    factor: float
    changed: bool


def correction(name: str, ratio: float, *, cap: float, low: float, high: float) -> Corrected:
    """ratio: of the trainer's old probability over the rollout engine's."""
    if name == "tis":
        return Corrected(cap, True) if ratio > cap else Corrected(ratio, False)
    if name == "icepop":
        return Corrected(ratio, False) if low <= ratio <= high else Corrected(0.0, True)
    return Corrected(1.0, False)

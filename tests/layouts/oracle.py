"""What a step must give: its loss, its metrics and the slopes of its loss, in float64 and loops.

Shares no code with slime: it reads the config, the groups and their log-probs, and nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from layouts.formulas import (
    Term,
    Unit,
    auxiliary_mode,
    centred_advantages,
    cispo,
    correction,
    grpo_advantages,
    imitation,
    kl,
    ppo,
    reinforce,
    sequence_ratio,
    weight,
)


@dataclass(frozen=True, eq=False)
class Row:
    """A sample of the step, with R response tokens.

    still_R: the current log-probs, where a formula stops the gradient.
    """

    unit: Unit
    advantage: float
    active_R: np.ndarray  # bool
    rollout_R: np.ndarray  # log-probs, as all that follow
    old_R: np.ndarray | None  # None: on policy, still_R
    reference_R: np.ndarray
    current_R: np.ndarray
    entropy_R: np.ndarray
    still_R: np.ndarray


@dataclass(eq=False)
class Expected:
    """absolute: the sums of `metrics` over absolute values, by which to judge rounding."""

    metrics: dict[str, float]
    absolute: dict[str, float]
    log_prob_slopes: list[np.ndarray]  # of the loss, [R] for each row
    entropy_slopes: list[np.ndarray]


def rows(groups: Sequence[Any], read: Any, *, loss: Any, advantage: Any) -> list[Row]:
    """groups: of one step.  read(sample) -> its (old or None, reference, current, entropy), [R]"""
    found = []
    for group in groups:
        rewards = [rollout.reward for rollout in group.rollouts]
        if advantage.name == "grpo":
            advantages = grpo_advantages(rewards, advantage.epsilon)
        else:
            advantages = centred_advantages(rewards)
        for rollout, of_rollout in zip(group.rollouts, advantages, strict=True):
            masked = loss.mask_truncated and rollout.finish.value != "stop"
            for sample in rollout.samples:
                active_R = np.array([bool(m) and not masked for m in sample.loss_mask_R])
                unit = Unit(rollout.id, group.prompt.id, int(active_R.sum()))
                behaviour_R = np.asarray(sample.rollout_log_probs_R, dtype=np.float64)
                old_R, reference_R, current_R, entropy_R = read(sample)
                found.append(
                    Row(unit, of_rollout, active_R, behaviour_R, old_R, reference_R, current_R,
                        entropy_R, still_R=current_R)
                )  # fmt: skip
    return found


MEANS = (
    "entropy",
    "kl",
    "ratio",
    "clip_fraction_low",
    "clip_fraction_high",
    "rollout_logprob_abs_diff",
    "correction_ratio",
    "correction_fraction",
)  # fmt: skip


@dataclass
class Sums:
    signed: dict[str, float] = field(default_factory=dict)
    absolute: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float, slope: float = 0.0) -> None:
        """slope: along the log-prob, of a value that may be small where its slope is not."""
        self.signed[name] = self.signed.get(name, 0.0) + value
        self.absolute[name] = self.absolute.get(name, 0.0) + abs(value) + abs(slope)


def expect(step: Sequence[Row], loss: Any) -> Expected:
    """loss: the config node.  Idle samples are those that the config lets the trainer leave out."""
    units = [row.unit for row in step]
    drop = loss.empty_units.value == "drop"
    mode = {"custom": "by_root", "dr_grpo": "constant"}.get(loss.aggregation, loss.aggregation)
    auxiliary = auxiliary_mode(mode, loss.auxiliary_aggregation.value)
    divisor = loss.divisor if mode == "constant" else math.nan
    sums = Sums()
    for name in ("pg_loss", "kl_loss", "entropy_loss", "active_tokens", *MEANS):
        sums.add(name, 0.0)
    log_prob_slopes, entropy_slopes = [], []
    for row in step:
        along_log_probs = np.zeros(len(row.active_R))
        along_entropy = np.zeros(len(row.active_R))
        if not _left_out(row, step, loss):
            weights = (
                weight(mode, row.unit, units, drop=drop, divisor=divisor),
                weight(auxiliary, row.unit, units, drop=drop, divisor=divisor),
            )
            _add_sample(row, weights, loss, sums, along_log_probs, along_entropy)
        log_prob_slopes.append(along_log_probs)
        entropy_slopes.append(along_entropy)
    return Expected(
        _reported(sums.signed), _reported(sums.absolute), log_prob_slopes, entropy_slopes
    )


def _left_out(row: Row, step: Sequence[Row], loss: Any) -> bool:
    """No gradient comes from it.  When that is so of all, one is kept: the step is still taken."""
    if not loss.skip_idle_samples or loss.kl.name != "none" or loss.entropy_coefficient > 0:
        return False
    if loss.objective.name == "sft":  # whatever the advantage
        return False
    trained = [r for r in step if r.unit.active > 0 and r.advantage != 0]
    return row not in (trained or [step[0]])


def _add_sample(
    row: Row,
    weights: tuple[float, float],
    loss: Any,
    sums: Sums,
    along_log_probs: np.ndarray,
    along_entropy: np.ndarray,
) -> None:
    own, auxiliary = weights
    old_R = row.still_R if row.old_R is None else row.old_R
    active = [t for t in range(len(row.active_R)) if row.active_R[t]]
    of_sequence = sequence_ratio([row.still_R[t] - old_R[t] for t in active])
    for t in active:
        if loss.objective.name == "gspo":
            ratio = of_sequence * math.exp(row.current_R[t] - row.still_R[t])
        elif loss.objective.name == "sft":
            ratio = 1.0
        else:
            ratio = math.exp(row.current_R[t] - old_R[t])
        still = math.exp(row.still_R[t] - old_R[t])
        term = _term(loss.objective, ratio, still, row.advantage, row.current_R[t])
        of_engine = math.exp(old_R[t] - row.rollout_R[t])
        corrected = _correct(loss.correction, of_engine)
        along_log_probs[t] += own * corrected.factor * term.slope
        estimate, slope = kl(loss.kl.name, row.current_R[t], row.reference_R[t])
        coefficient = loss.kl.coefficient if loss.kl.name != "none" else 0.0
        along_log_probs[t] += auxiliary * coefficient * slope
        along_entropy[t] -= auxiliary * loss.entropy_coefficient

        sums.add("pg_loss", own * corrected.factor * term.value)
        sums.add("kl_loss", auxiliary * coefficient * estimate, auxiliary * coefficient * slope)
        sums.add("entropy_loss", -auxiliary * loss.entropy_coefficient * row.entropy_R[t])
        sums.add("active_tokens", 1)
        sums.add("entropy", row.entropy_R[t])
        sums.add("kl", estimate, slope)
        sums.add("ratio", ratio)
        sums.add("clip_fraction_low", term.low)
        sums.add("clip_fraction_high", term.high)
        sums.add("rollout_logprob_abs_diff", abs(old_R[t] - row.rollout_R[t]), slope=1.0)
        sums.add("correction_ratio", of_engine)
        sums.add("correction_fraction", corrected.changed)


def _term(objective: Any, ratio: float, still: float, advantage: float, log_prob: float) -> Term:
    """still: the ratio where a formula stops its gradient."""
    match objective.name:
        case "ppo":
            dual = math.inf if objective.dual_clip is None else objective.dual_clip
            return ppo(ratio, advantage, objective.clip_low, objective.clip_high, dual)
        case "gspo":
            return ppo(ratio, advantage, objective.clip_low, objective.clip_high)
        case "cispo":
            return cispo(still, advantage, log_prob, objective.clip_low, objective.clip_high)
        case "reinforce":
            return reinforce(ratio, advantage)
        case "sft":
            return imitation(log_prob)
    raise ValueError(objective.name)


def _correct(config: Any, ratio: float) -> Any:
    bounds = {"cap": math.nan, "low": math.nan, "high": math.nan}
    if config.name == "tis":
        bounds["cap"] = config.cap
    if config.name == "icepop":
        bounds["low"], bounds["high"] = config.low, config.high
    return correction(config.name, ratio, **bounds)


def _reported(sums: dict[str, float]) -> dict[str, float]:
    tokens = sums["active_tokens"]
    means = {name: sums[name] / tokens if tokens else 0.0 for name in MEANS}
    parts = {name: sums[name] for name in ("pg_loss", "kl_loss", "entropy_loss", "active_tokens")}
    return {**parts, **means, "loss": sum(sums[n] for n in ("pg_loss", "kl_loss", "entropy_loss"))}

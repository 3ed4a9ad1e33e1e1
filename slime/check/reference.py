"""The single-process reference: one sample at a time, in float64, its gradient by autograd."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slime.check.case import Case, response_log_probs
from slime.check.modes import ModeWeights
from slime.check.plan_by_hand import trained
from slime.check.terms_by_hand import LogProbs, SampleTerms, TokenSums, sample_terms
from slime.config.schema import LossConfig, ReferenceKLConfig, kl_in_reward
from slime.model.exact import ExactModel
from slime.model.fused import as_in_files

# Log-probs are rounded before anything is made of their differences: by so much of themselves
# (relative to the bound on relative errors) may the mean of those differences be off.
_ROUNDED_LOG_PROBS = 0.05


@dataclass(frozen=True, slots=True)
class Measure:
    """A value, and the size of what was added up to give it: rounding goes by that."""

    value: float
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceStep:
    """measures has the names of StepMetrics."""

    measures: Mapping[str, Measure]
    gradient: Mapping[str, Tensor]  # of the configured mode's loss, by Hugging Face names, float64
    gradient_norms: tuple[float, ...]  # of each mode's loss


def reference_step(
    model: ExactModel, case: Case, loss: LossConfig, modes: Sequence[ModeWeights]
) -> ReferenceStep:
    """The case under each of the modes, the configured one first."""
    names, parameters = zip(*model.parameters.items(), strict=True)
    # The other modes' gradients are only wanted for their norms.
    dtypes = [torch.float64, *(torch.float32 for _ in modes[1:])]
    gradients = [[torch.zeros_like(p, dtype=d) for p in parameters] for d in dtypes]
    totals = _Totals()
    for i, goes_through in enumerate(trained(case.items, loss)):
        if not goes_through or not case.items[i].active:
            continue
        terms = sample_terms(
            loss,
            _log_probs(model, case, i),
            case.items[i].sample.loss_mask_R.tolist(),
            case.items[i].advantages,
        )
        totals.add(terms, modes[0].weights[i].policy, modes[0].weights[i].auxiliary, loss)
        policy = torch.autograd.grad(terms.policy, parameters, retain_graph=True)
        auxiliary = torch.autograd.grad(_auxiliary(terms, loss), parameters)
        for mode, total in zip(modes, gradients, strict=True):
            weight = mode.weights[i]
            for sum_, p, a in zip(total, policy, auxiliary, strict=True):
                sum_ += weight.policy * p + weight.auxiliary * a
    norms = tuple(sum(g.double().square().sum().item() for g in of) ** 0.5 for of in gradients)
    return ReferenceStep(
        measures={**totals.measures(), "grad_norm": Measure(norms[0], norms[0])},
        gradient=as_in_files(dict(zip(names, gradients[0], strict=True))),
        gradient_norms=norms,
    )


def _log_probs(model: ExactModel, case: Case, i: int) -> LogProbs:
    sample, drawn = case.items[i].sample, case.drawn[i]
    current_R, entropy_R = response_log_probs(model, sample, case.temperature)
    return LogProbs(
        current_R=current_R,
        entropy_R=entropy_R,
        old_R=None if drawn.old_R is None else drawn.old_R.double(),
        rollout_R=sample.rollout_log_probs_R.double(),
        reference_R=None if drawn.reference_R is None else drawn.reference_R.double(),
    )


def _kl_coefficient(loss: LossConfig) -> float:
    """Of the loss; where the reward pays for the KL the loss does not."""
    if kl_in_reward(loss.kl) or not isinstance(loss.kl, ReferenceKLConfig):
        return 0.0
    return loss.kl.coefficient


def _auxiliary(terms: SampleTerms, loss: LossConfig) -> Tensor:
    return _kl_coefficient(loss) * terms.kl - loss.entropy_coefficient * terms.entropy


class _Totals:
    """Of the whole step."""

    def __init__(self) -> None:
        self._sums = TokenSums()
        self._policy = self._kl = self._entropy = 0.0
        self._policy_scale = self._kl_scale = 0.0

    def add(self, terms: SampleTerms, weight: float, auxiliary: float, loss: LossConfig) -> None:
        kl = _kl_coefficient(loss)
        self._sums = self._sums + terms.sums
        self._policy += weight * terms.policy.item()
        self._kl += auxiliary * kl * terms.kl.item()
        self._entropy -= auxiliary * loss.entropy_coefficient * terms.entropy.item()
        self._policy_scale += weight * terms.sums.absolute_policy
        self._kl_scale += auxiliary * kl * terms.sums.absolute_kl

    def measures(self) -> dict[str, Measure]:
        sums = self._sums
        tokens = sums.active_tokens or 1.0  # the mean of nothing is 0
        means = {
            name: Measure(getattr(sums, name) / tokens, getattr(sums, name) / tokens)
            for name in (
                "entropy",
                "ratio",
                "clip_fraction_low",
                "clip_fraction_high",
                "correction_ratio",
                "correction_fraction",
            )
        }
        gap = sums.rollout_logprob_abs_diff / tokens
        rounded = _ROUNDED_LOG_PROBS * sums.absolute_log_probs / tokens
        scale = self._policy_scale + self._kl_scale + abs(self._entropy)
        return {
            "loss": Measure(self._policy + self._kl + self._entropy, scale),
            "pg_loss": Measure(self._policy, self._policy_scale),
            "kl_loss": Measure(self._kl, self._kl_scale),
            "entropy_loss": Measure(self._entropy, abs(self._entropy)),
            "kl": Measure(sums.kl / tokens, sums.absolute_kl / tokens),
            "rollout_logprob_abs_diff": Measure(gap, gap + rounded),
            "active_tokens": Measure(sums.active_tokens, sums.active_tokens),
            **means,
        }

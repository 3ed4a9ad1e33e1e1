"""The loss of a micro-batch: step weights times token terms, summed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slime.config.schema import LossConfig, check
from slime.loss.correction import Correction, build_correction
from slime.loss.kl import KLPenalty, build_kl
from slime.loss.objective import Objective, build_objective
from slime.loss.terms import LossOutput, MetricSums, TokenTerms


@dataclass(frozen=True, slots=True)
class Loss:
    """Turns the token terms of a micro-batch into its share of the step loss.

    It multiplies by the weights and sums; it never divides and never counts.  The shares of all
    micro-batches of a step add up to the step loss, on any layout.
    """

    objective: Objective
    correction: Correction
    kl: KLPenalty | None  # None: no KL term
    entropy_coefficient: float | None  # None: no entropy bonus

    @property
    def needs_reference(self) -> bool:
        """Whether TokenTerms must hold reference log-probs."""
        return self.kl is not None

    @property
    def needs_entropy_gradient(self) -> bool:
        """Whether TokenTerms.entropy_T must carry the gradient."""
        return self.entropy_coefficient is not None

    @property
    def needs_sequences(self) -> bool:
        """Whether TokenTerms must hold sequences."""
        return self.objective.needs_sequences

    def __call__(self, terms: TokenTerms) -> LossOutput:
        """-> the loss (scalar, in the dtype of the log-probs) and its metric sums.

        Masked positions may hold anything, nan included.  Without an active token the loss is 0
        and still differentiable.  Raises ValueError when reference log-probs or sequences are
        needed and None.
        """
        active_T = terms.mask_T
        terms = _silence_masked(terms)
        mismatch_T = _old_over_rollout(terms)
        factor_T = self.correction.factor(mismatch_T)
        policy = self.objective(_without_gradient_where(factor_T == 0, terms))
        policy_T = torch.where(factor_T == 0, 0.0, factor_T * policy.term_T)
        policy_loss = _weighted_sum(policy_T, terms.weights_T)
        kl_loss, kl_T = self._kl(terms)
        entropy_loss = self._entropy_bonus(terms)
        loss = policy_loss + kl_loss + entropy_loss
        metrics = MetricSums(
            loss=loss.detach().clone(),  # whoever runs the backward may scale the loss in place
            pg_loss=policy_loss.detach(),
            kl_loss=kl_loss.detach(),
            entropy_loss=entropy_loss.detach(),
            active_tokens=_sum(active_T),
            entropy=_sum(terms.entropy_T),
            kl=_sum(kl_T),
            ratio=_sum(torch.where(active_T, policy.ratio_T, 0.0)),
            clip_fraction_low=_sum(active_T & policy.clipped_low_T),
            clip_fraction_high=_sum(active_T & policy.clipped_high_T),
            rollout_logprob_abs_diff=_sum((_old(terms) - terms.rollout_log_probs_T).abs()),
            correction_ratio=_sum(torch.where(active_T, mismatch_T, 0.0)),
            correction_fraction=_sum(active_T & self.correction.changed(mismatch_T)),
        )
        return LossOutput(loss.to(terms.log_probs_T.dtype), metrics)

    def _kl(self, terms: TokenTerms) -> tuple[Tensor, Tensor]:
        """-> the KL term of the loss and the estimates [T] it is made of."""
        if self.kl is None:
            zeros_T = torch.zeros_like(terms.log_probs_T)
            return _sum(zeros_T), zeros_T
        if terms.reference_log_probs_T is None:
            raise ValueError("loss.kl needs reference log-probs, but reference_log_probs_T is None")
        kl_T = self.kl.estimate(terms.log_probs_T, terms.reference_log_probs_T)
        if self.kl.coefficient is None:
            return _sum(torch.zeros_like(kl_T)), kl_T
        return self.kl.coefficient * _weighted_sum(kl_T, terms.auxiliary_weights_T), kl_T

    def _entropy_bonus(self, terms: TokenTerms) -> Tensor:
        if self.entropy_coefficient is None:
            return _sum(torch.zeros_like(terms.log_probs_T))
        mean = _weighted_sum(terms.entropy_T, terms.auxiliary_weights_T)
        return -self.entropy_coefficient * mean


def build_loss(config: LossConfig) -> Loss:
    """The loss that a loss node describes.  Raises ConfigError when the node is not legal."""
    check(config)
    return Loss(
        objective=build_objective(config.objective),
        correction=build_correction(config.correction),
        kl=build_kl(config.kl),
        entropy_coefficient=config.entropy_coefficient or None,
    )


def _silence_masked(terms: TokenTerms) -> TokenTerms:
    """Zeros, without a gradient, at every masked position.

    Before anything non-linear: a nan that is masked only afterwards still has a nan gradient.
    """

    def silent(values_T: Tensor) -> Tensor:
        return torch.where(terms.mask_T, values_T, 0.0)

    old_T, reference_T = terms.old_log_probs_T, terms.reference_log_probs_T
    return replace(
        terms,
        log_probs_T=silent(terms.log_probs_T),
        entropy_T=silent(terms.entropy_T),
        rollout_log_probs_T=silent(terms.rollout_log_probs_T),
        advantages_T=silent(terms.advantages_T),
        weights_T=silent(terms.weights_T),
        auxiliary_weights_T=silent(terms.auxiliary_weights_T),
        old_log_probs_T=None if old_T is None else silent(old_T),
        reference_log_probs_T=None if reference_T is None else silent(reference_T),
    )


def _old(terms: TokenTerms) -> Tensor:
    """The trainer's log-probs under the weights that the engine sampled with.  -> [T], detached"""
    old_T = terms.old_log_probs_T
    return terms.log_probs_T.detach() if old_T is None else old_T


def _old_over_rollout(terms: TokenTerms) -> Tensor:
    """The trainer's probability of each token over the engine's, under the same weights.  -> [T]"""
    return torch.exp(_old(terms) - terms.rollout_log_probs_T)


def _without_gradient_where(dropped_T: Tensor, terms: TokenTerms) -> TokenTerms:
    """The same values.  A dropped ratio may be inf, and 0 times the gradient of that is nan."""
    current_T = terms.log_probs_T
    return replace(terms, log_probs_T=torch.where(dropped_T, current_T.detach(), current_T))


def _weighted_sum(values_T: Tensor, weights_T: Tensor) -> Tensor:
    """float64: weights of a large step are so small that float32 sums would lose digits."""
    return (values_T.double() * weights_T.double()).sum()


def _sum(values_T: Tensor) -> Tensor:
    return values_T.detach().double().sum()

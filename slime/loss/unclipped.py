"""Objectives in which every token pulls: CISPO, REINFORCE and supervised fine-tuning."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from slime.loss.policy_terms import PolicyTerms
from slime.loss.ratio import moving, token_ratio
from slime.loss.terms import TokenTerms


@dataclass(frozen=True, slots=True)
class TruncatedWeight:
    """-sg(clip(r, 1 - low, 1 + high)) * A * log pi, with sg: no gradient passes.

    The bounds limit how much a token counts, and take no token's gradient away.

    Source: CISPO, MiniMax-M1, arXiv:2506.13585 eq. 4 and 5.
    """

    low: float
    high: float
    needs_sequences: ClassVar[bool] = False

    def __call__(self, terms: TokenTerms) -> PolicyTerms:
        ratio_T = token_ratio(terms)
        weight_T = ratio_T.clamp(1 - self.low, 1 + self.high)
        # Where nothing pulls, a log-prob of -inf would make 0 * inf, a nan, of it.
        nothing_T = weight_T * terms.advantages_T == 0
        log_probs_T = torch.where(nothing_T, 0.0, terms.log_probs_T)
        return PolicyTerms(
            term_T=-weight_T * terms.advantages_T * log_probs_T,
            ratio_T=ratio_T,
            clipped_low_T=ratio_T < 1 - self.low,
            clipped_high_T=ratio_T > 1 + self.high,
        )


@dataclass(frozen=True, slots=True)
class PolicyGradient:
    """-r * A; on policy, where r is 1, its gradient is that of -A * log pi.

    Source: REINFORCE, R. J. Williams, Machine Learning 8 (1992), with the importance ratio that
    tokens of an older policy need.
    """

    needs_sequences: ClassVar[bool] = False

    def __call__(self, terms: TokenTerms) -> PolicyTerms:
        ratio_T, stops_T = token_ratio(terms), terms.advantages_T == 0
        moving_T = moving(ratio_T, terms.log_probs_T, ~stops_T)
        finite_T = ratio_T.clamp(max=torch.finfo(ratio_T.dtype).max)  # inf * 0 would be nan
        nothing_T = torch.zeros_like(stops_T)
        return PolicyTerms(
            term_T=-torch.where(stops_T, finite_T, moving_T) * terms.advantages_T,
            ratio_T=ratio_T,
            clipped_low_T=nothing_T,
            clipped_high_T=nothing_T,
        )


@dataclass(frozen=True, slots=True)
class Imitation:
    """-log pi, the negative log-likelihood: reads no advantage and no old log-probs.

    The ratio is 1: what is imitated was drawn from no older policy.
    """

    needs_sequences: ClassVar[bool] = False

    def __call__(self, terms: TokenTerms) -> PolicyTerms:
        nothing_T = torch.zeros_like(terms.mask_T)
        return PolicyTerms(
            term_T=-terms.log_probs_T,
            ratio_T=torch.ones_like(terms.log_probs_T),
            clipped_low_T=nothing_T,
            clipped_high_T=nothing_T,
        )

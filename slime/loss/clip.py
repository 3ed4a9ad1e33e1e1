"""The clipped surrogate of PPO, GRPO, DAPO, dual-clip PPO and GSPO."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from slime.loss.policy_terms import PolicyTerms
from slime.loss.ratio import moving
from slime.loss.terms import TokenTerms


@dataclass(frozen=True, slots=True)
class Clip:
    """-min(r * A, clip(r, 1 - low, 1 + high) * A), and at most -dual * A where A < 0.

    By its regions: where A > 0, r is bounded by 1 + high from above; where A < 0, by 1 - low from
    below and by dual from above.  A token beyond a bound has no gradient.

    Source: arXiv:1707.06347 eq. 7; separate bounds are arXiv:2503.14476 eq. 10 (clip-higher); dual
    is c of arXiv:1912.09729 eq. 5, and inf without it.
    """

    ratio: Callable[[TokenTerms], Tensor]
    needs_sequences: bool
    low: float
    high: float
    dual: float

    def __call__(self, terms: TokenTerms) -> PolicyTerms:
        advantages_T, ratio_T = terms.advantages_T, self.ratio(terms)
        good_T, bad_T = advantages_T > 0, advantages_T < 0
        low_T = bad_T & (ratio_T < 1 - self.low)
        high_T = (good_T & (ratio_T > 1 + self.high)) | (bad_T & (ratio_T > self.dual))
        bounded_T = torch.where(
            bad_T,
            ratio_T.clamp(1 - self.low, self.dual),
            ratio_T.clamp(1 - self.low, 1 + self.high),
        )
        # Without an advantage nothing pulls either, and inf * 0 would be nan.
        stops_T = low_T | high_T | (advantages_T == 0)
        moving_T = moving(ratio_T, terms.log_probs_T, ~stops_T)
        return PolicyTerms(
            term_T=-torch.where(stops_T, bounded_T, moving_T) * advantages_T,
            ratio_T=ratio_T,
            clipped_low_T=low_T,
            clipped_high_T=high_T,
        )

"""What an objective makes of the tokens of a micro-batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class PolicyTerms:
    """Of all T tokens; what stands at a masked one means nothing, but is no nan."""

    term_T: Tensor  # to minimise; carries the gradient
    ratio_T: Tensor  # pi_current / pi_old, without a gradient
    clipped_low_T: Tensor  # bool: a lower bound of the ratio took effect
    clipped_high_T: Tensor  # bool: an upper bound of the ratio took effect

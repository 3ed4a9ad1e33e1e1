"""The policy-gradient term of one token: which formula an objective node asks for."""

import math
from typing import Protocol

from slime.config.schema import CISPO, GSPO, PPO, SFT, ConfigError, ObjectiveConfig, Reinforce
from slime.loss.clip import Clip
from slime.loss.policy_terms import PolicyTerms
from slime.loss.ratio import sequence_ratio, token_ratio
from slime.loss.terms import TokenTerms
from slime.loss.unclipped import Imitation, PolicyGradient, TruncatedWeight


class Objective(Protocol):
    """From the tokens of a micro-batch to their terms.

    Where a token's term is a constant (a bound took effect, the advantage is 0) its gradient is
    exactly 0, be its ratio infinite.
    """

    @property
    def needs_sequences(self) -> bool:
        """Whether TokenTerms must hold sequences."""

    def __call__(self, terms: TokenTerms) -> PolicyTerms:
        """Raises ValueError when sequences are needed and None."""


def build_objective(config: ObjectiveConfig) -> Objective:
    """The formula of an objective node.  Raises ConfigError for a class that is none."""
    match config:
        case PPO():
            return Clip(
                ratio=token_ratio,
                needs_sequences=False,
                low=config.clip_low,
                high=config.clip_high,
                dual=math.inf if config.dual_clip is None else config.dual_clip,
            )
        case GSPO():
            return Clip(
                ratio=sequence_ratio,
                needs_sequences=True,
                low=config.clip_low,
                high=config.clip_high,
                dual=math.inf,
            )
        case CISPO():
            return TruncatedWeight(config.clip_low, config.clip_high)
        case Reinforce():
            return PolicyGradient()
        case SFT():
            return Imitation()
        case _:
            raise ConfigError(
                f"loss.objective must be a PPO, GSPO, CISPO, Reinforce or SFT, "
                f"got a {type(config).__name__}"
            )

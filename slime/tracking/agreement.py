"""How far the log-probs of engine and trainer may be apart for the same tokens and weights."""

import math

import torch

from slime.config.schema import SFT, ObjectiveConfig, Precision
from slime.model.precision import dtype_of

# Nats, as a mean over tokens.  Two float32 implementations of a 135M model measured 1e-5 apart; two
# bfloat16 ones 1.5e-2 on a single token.
_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


def agreement_bound(precision: Precision, top_p: float, objective: ObjectiveConfig) -> float:
    """Above it there is a defect.

    No bound with a nucleus, which the trainer does not know, nor for texts that no engine sampled
    (loss/objective=sft).
    """
    if top_p != 1 or isinstance(objective, SFT):
        return math.inf
    return _BOUNDS[dtype_of(precision)]

"""How likely a token has become since it was drawn: pi_current / pi_old.

The value decides which bound is met and has no gradient; `moving` gives it one, at the tokens where
no bound stops it.  Above e^88 the value is inf in float32, and 0 times the gradient of that would
be nan: a gradient that is to stop has to stop at the log-prob.
"""

import torch
from torch import Tensor

from slime.loss.terms import Sequences, TokenTerms


def token_ratio(terms: TokenTerms) -> Tensor:
    """Each token's own; exactly 1 on policy.  -> [T], without a gradient; may be inf"""
    current_T, old_T = terms.log_probs_T.detach(), terms.old_log_probs_T
    return torch.exp(current_T - (current_T if old_T is None else old_T))


def sequence_ratio(terms: TokenTerms) -> Tensor:
    """One for all tokens of a sample, the geometric mean over its M_s active ones.

    s = exp(1/M_s * sum over its active tokens of (log pi_current - log pi_old))

    Source: arXiv:2507.18071 eq. 7, in its GSPO-token form (eq. 14): every active token of a sample
    has the value of s and the gradient of s * log pi of itself.

    -> [T], without a gradient; may be inf; exactly 1 on policy.  Raises ValueError when
    terms.sequences is None.
    """
    if terms.sequences is None:
        raise ValueError("loss/objective=gspo needs whole sequences, but sequences is None")
    if terms.old_log_probs_T is None:
        return token_ratio(terms)
    current_T = terms.log_probs_T.detach()
    means_S = _sequence_means(current_T - terms.old_log_probs_T, terms.sequences)
    s_T = torch.where(terms.mask_T, means_S[terms.sequences.of_token_T].exp(), 1.0)
    return s_T.to(current_T.dtype)


def moving(ratio_T: Tensor, log_probs_T: Tensor, moves_T: Tensor) -> Tensor:
    """The same values, with the gradient of ratio * log pi at the tokens of moves_T, else none.

    -> [T]
    """
    # Where log pi is -inf the ratio is 0, and so is its gradient.
    step_T = torch.where(moves_T & ~log_probs_T.isinf(), log_probs_T - log_probs_T.detach(), 0.0)
    return ratio_T * torch.exp(step_T)  # 1, with the gradient of log pi


def _sequence_means(values_T: Tensor, sequences: Sequences) -> Tensor:
    """Of the values of a whole sample, wherever its tokens are, per active token.  -> [S] float64

    nan for a sample without an active token, where nothing may read it.  The count was fixed
    before the step was split, so it is that of the whole sample too.
    """
    active_S = sequences.active_tokens_S.double()
    sums_S = torch.zeros_like(active_S).index_add_(0, sequences.of_token_T, values_T.double())
    sequences.add_shards(sums_S)
    return sums_S / active_S

"""Drawing next tokens: the same request gets the same tokens in any batch.

Each request has its own stream of random numbers, and token t of its response is where the t-th
number falls in the cumulative distribution.  Nothing here depends on the other rows of the batch.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from slime.rollout.engine import Sampling

# logits [B, V], numbers in [0, 1) [B] -> tokens [B] int64, log-probs [B] float32
Sampler = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_BLOCK = 256  # tokens whose probabilities are first added up; see _invert
_NUCLEUS_GUESS = 1024  # tokens looked at before a nucleus is known to be larger


def build_sampler(sampling: Sampling) -> Sampler:
    """How to draw under `sampling`."""
    if sampling.temperature == 0:
        return greedy
    if sampling.top_p == 1:
        return partial(from_all, temperature=sampling.temperature)
    return partial(from_nucleus, temperature=sampling.temperature, top_p=sampling.top_p)


def uniform_numbers(seeds: Sequence[int], count: int) -> Tensor:
    """`count` numbers in [0, 1) for each seed (0 <= seed < 2^128): -> [B, count] float64.

    Philox: a counter-based generator whose stream numpy keeps the same over versions and machines.
    """
    streams = [np.random.Generator(np.random.Philox(key=seed)).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(streams))


def greedy(logits_BV: Tensor, numbers_B: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest token.  It has probability 1 under this distribution, so log-prob 0.

    A row whose logits are not finite has no likeliest token: its log-prob is nan.
    """
    tokens_B = logits_BV.argmax(-1)
    finite_B = logits_BV.isfinite().all(-1)
    return tokens_B, torch.where(finite_B, 0.0, torch.nan).to(numbers_B.device)


def from_all(logits_BV: Tensor, numbers_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """A token from softmax(logits / temperature)."""
    probs_BV = torch.softmax(logits_BV.float() / temperature, -1)
    tokens_B = _invert(probs_BV, numbers_B)
    return tokens_B, _at(probs_BV, tokens_B).log()


def from_nucleus(
    logits_BV: Tensor, numbers_B: Tensor, temperature: float, top_p: float
) -> tuple[Tensor, Tensor]:
    """A token from the nucleus of softmax(logits / temperature), renormalised.

    The nucleus is the smallest set of likeliest tokens whose probabilities reach top_p (Holtzman et
    al., arXiv:1904.09751); of equally likely tokens the one with the lower id goes first.
    """
    probs_BV = torch.softmax(logits_BV.float() / temperature, -1)
    probs_BK, tokens_BK = _likeliest(probs_BV, top_p)
    above_BK = probs_BK.double().cumsum(-1) - probs_BK
    kept_BK = torch.where(above_BK < top_p, probs_BK.double(), 0)
    cumulative_BK = kept_BK.cumsum(-1)
    place_B = _search(cumulative_BK, numbers_B * cumulative_BK[:, -1])
    log_probs_B = (_at(kept_BK, place_B) / cumulative_BK[:, -1]).log()
    return _at(tokens_BK, place_B), log_probs_B.float()


def _likeliest(probs_BV: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Probabilities and ids [B, K], likeliest first, with K large enough for every row's nucleus.

    Sorting the whole vocabulary costs more than the model's own forward pass on a CPU.
    """
    size, guess = probs_BV.shape[-1], _NUCLEUS_GUESS
    while True:
        count = min(guess, size)
        tokens_BK = probs_BV.topk(count).indices.sort(-1).values
        probs_BK, order_BK = probs_BV.gather(-1, tokens_BK).sort(
            dim=-1, descending=True, stable=True
        )
        reached_B = probs_BK[:, :-1].sum(-1, dtype=torch.float64)
        if count == size or bool((reached_B >= top_p).all()):
            return probs_BK, tokens_BK.gather(-1, order_BK)
        guess *= 8


def _invert(probs_BV: Tensor, numbers_B: Tensor) -> Tensor:
    """The token in which each number falls on the cumulative distribution: -> [B] int64.

    First the block of tokens, then the token in it: a float64 running sum over the whole vocabulary
    would be exact too, but cost as much as the rest of sampling several times over.
    """
    missing = -probs_BV.shape[-1] % _BLOCK
    padded = torch.nn.functional.pad(probs_BV, (0, missing)) if missing else probs_BV
    blocks_BNK = padded.view(len(padded), -1, _BLOCK)
    sums_BN = blocks_BNK.sum(-1).double()
    cumulative_BN = sums_BN.cumsum(-1)
    targets_B = numbers_B * cumulative_BN[:, -1]
    block_B = _search(cumulative_BN, targets_B)
    mass_B = _at(sums_BN, block_B)
    rest_B = (targets_B - (_at(cumulative_BN, block_B) - mass_B)) / mass_B
    rows_B = torch.arange(len(probs_BV), device=probs_BV.device)
    within_BK = blocks_BNK[rows_B, block_B].double().cumsum(-1)
    tokens_B = block_B * _BLOCK + _search(within_BK, rest_B * within_BK[:, -1])
    return tokens_B.clamp(max=probs_BV.shape[-1] - 1)  # NaN would end up in the padding


def _search(cumulative_BK: Tensor, targets_B: Tensor) -> Tensor:
    """The first place whose running sum is above the target; never a place without mass."""
    last_B = cumulative_BK[:, -1] * (1 - 2**-40)
    targets_B = torch.minimum(targets_B, last_B).clamp(min=0)
    places_B = torch.searchsorted(cumulative_BK, targets_B[:, None], right=True)[:, 0]
    return places_B.clamp(max=cumulative_BK.shape[-1] - 1)  # NaN is above everything


def _at(values_BK: Tensor, places_B: Tensor) -> Tensor:
    return values_BK.gather(-1, places_B[:, None])[:, 0]

"""Which rank, and which micro-batch, each sample of a step goes to.

The step's weights are on the samples already, so no choice made here can change the loss.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import torch

from slime.data.step import TrainSample

MicroBatch: TypeAlias = tuple[TrainSample, ...]


def share(
    samples: Sequence[TrainSample], ranks: int, max_tokens_per_microbatch: int
) -> tuple[tuple[MicroBatch, ...], ...]:
    """Every sample exactly once, as [rank][micro-batch][sample].

    Ranks are balanced by tokens (prompt and response); a micro-batch has at most
    max_tokens_per_microbatch of them, and ranks may have different numbers of micro-batches.  The
    samples of a micro-batch keep their order in `samples`.  A rank that would have nothing gets a
    filler, a fully masked copy of the shortest sample with weight 0, so that it runs the same
    collectives as the others.

    Raises ValueError for a sample above the bound, and for a step without samples.
    """
    if not samples:
        raise ValueError("a step without samples cannot be shared: skip it")
    sizes = [sample.sample.tokens for sample in samples]
    _check_bound(samples, max_tokens_per_microbatch)
    laid_out = []
    for members in _spread(range(len(samples)), sizes, ranks):
        bins = _micro_batches(members, sizes, max_tokens_per_microbatch)
        laid_out.append(tuple(tuple(samples[i] for i in sorted(members)) for members in bins))
    filler = (_masked_copy(min(samples, key=lambda sample: sample.sample.tokens)),)
    return tuple(micro_batches or (filler,) for micro_batches in laid_out)


def _check_bound(samples: Sequence[TrainSample], bound: int) -> None:
    longest = max(samples, key=lambda sample: sample.sample.tokens).sample
    if longest.tokens > bound:
        raise ValueError(
            f"a sample of rollout {longest.rollout_id} has {longest.tokens} tokens: raise "
            f"parallel.max_tokens_per_microbatch={bound} to at least {longest.tokens}"
        )


def _spread(members: Sequence[int], sizes: Sequence[int], bins: int) -> list[list[int]]:
    """Longest first, each to the bin that holds least (LPT, Graham 1969: at most 4/3 of optimal)"""
    spread: list[list[int]] = [[] for _ in range(bins)]
    loads = [(0, b) for b in range(bins)]
    for i in sorted(members, key=lambda i: -sizes[i]):
        load, b = loads[0]
        spread[b].append(i)
        heapq.heapreplace(loads, (load + sizes[i], b))
    return spread


def _micro_batches(members: Sequence[int], sizes: Sequence[int], bound: int) -> list[list[int]]:
    """As few bins as best fit finds, and evenly filled where that keeps the bound."""
    fitted = _best_fit(members, sizes, bound)
    even = _spread(members, sizes, len(fitted)) if fitted else []
    fits = all(sum(sizes[i] for i in bin_) <= bound for bin_ in even)
    return even if fits else fitted


def _best_fit(members: Sequence[int], sizes: Sequence[int], bound: int) -> list[list[int]]:
    """Longest first, each to the fullest bin that has room for it (at most 11/9 of optimal + 1)."""
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, bin), sorted
    for i in sorted(members, key=lambda i: -sizes[i]):
        place = bisect_left(rooms, (sizes[i], -1))
        if place == len(rooms):
            bins.append([])
            room, b = bound, len(bins) - 1
        else:
            room, b = rooms.pop(place)
        bins[b].append(i)
        insort(rooms, (room - sizes[i], b))
    return bins


def _masked_copy(sample: TrainSample) -> TrainSample:
    mask_R = torch.zeros_like(sample.sample.loss_mask_R)
    masked = replace(sample.sample, loss_mask_R=mask_R)
    return replace(sample, sample=masked, weight=0.0, auxiliary_weight=0.0)

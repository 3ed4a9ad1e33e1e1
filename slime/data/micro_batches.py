"""How the samples of one rank are divided into micro-batches: by tokens or by count."""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heapreplace
from itertools import pairwise

from slime.config.schema import Layout, ParallelConfig

# (indices of samples, tokens of every sample) -> the indices that share a micro-batch
Split = Callable[[Sequence[int], Sequence[int]], list[list[int]]]


def build_split(config: ParallelConfig) -> Split:
    """How micro-batches are made under these settings."""
    match config.layout, config.microbatches:
        case Layout.thd, None:
            return partial(_packed, bound=config.max_tokens_per_microbatch)
        case Layout.bshd, None:
            return partial(_padded, bound=config.max_tokens_per_microbatch)
        case Layout.thd, int(count):
            return partial(_filled_evenly, count=count)
        case Layout.bshd, int(count):
            return partial(_neighbours, count=count)
    raise TypeError(f"no split for {config.layout} and {config.microbatches}")


def spread(members: Sequence[int], sizes: Sequence[int], bins: int) -> list[list[int]]:
    """Longest first, each to the bin that holds least (LPT, Graham 1969: at most 4/3 of optimal)"""
    spread: list[list[int]] = [[] for _ in range(bins)]
    loads = [(0, b) for b in range(bins)]
    for i in _longest_first(members, sizes):
        load, b = loads[0]
        spread[b].append(i)
        heapreplace(loads, (load + sizes[i], b))
    return spread


def _packed(members: Sequence[int], sizes: Sequence[int], *, bound: int) -> list[list[int]]:
    """As few bins as best fit finds, and evenly filled where that keeps the bound."""
    fitted = _best_fit(members, sizes, bound)
    even = spread(members, sizes, len(fitted)) if fitted else []
    fits = all(sum(sizes[i] for i in bin_) <= bound for bin_ in even)
    return even if fits else fitted


def _padded(members: Sequence[int], sizes: Sequence[int], *, bound: int) -> list[list[int]]:
    """Samples of like length together: every one costs as much as the longest of its bin."""
    bins: list[list[int]] = []
    for i in _longest_first(members, sizes):
        if not bins or sizes[bins[-1][0]] * (len(bins[-1]) + 1) > bound:
            bins.append([])
        bins[-1].append(i)
    return bins


def _filled_evenly(members: Sequence[int], sizes: Sequence[int], *, count: int) -> list[list[int]]:
    return [bin_ for bin_ in spread(members, sizes, count) if bin_]


def _neighbours(members: Sequence[int], sizes: Sequence[int], *, count: int) -> list[list[int]]:
    """As many samples in each, of like length."""
    ordered = _longest_first(members, sizes)
    bounds = [len(ordered) * b // count for b in range(count + 1)]
    return [ordered[start:end] for start, end in pairwise(bounds) if start < end]


def _longest_first(members: Sequence[int], sizes: Sequence[int]) -> list[int]:
    return sorted(members, key=lambda i: -sizes[i])


def _best_fit(members: Sequence[int], sizes: Sequence[int], bound: int) -> list[list[int]]:
    """Longest first, each to the fullest bin that has room for it (at most 11/9 of optimal + 1)."""
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, bin), sorted
    for i in _longest_first(members, sizes):
        place = bisect_left(rooms, (sizes[i], -1))
        if place == len(rooms):
            bins.append([])
            room, b = bound, len(bins) - 1
        else:
            room, b = rooms.pop(place)
        bins[b].append(i)
        insort(rooms, (room - sizes[i], b))
    return bins

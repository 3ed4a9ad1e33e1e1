"""Which data-parallel rank, and which micro-batch, each sample of a step goes to.

The step's weights are on the samples already, so no choice made here can change the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from slime.config.schema import ParallelConfig
from slime.data.micro_batches import Split, build_split, spread
from slime.data.step import TrainSample

MicroBatch: TypeAlias = tuple[TrainSample, ...]


@dataclass(frozen=True, slots=True)
class Sharing:
    """Divides a step's samples.  Decided on config when built."""

    config: ParallelConfig
    split: Split

    def __call__(self, samples: Sequence[TrainSample]) -> tuple[tuple[MicroBatch, ...], ...]:
        """Every sample exactly once, as [rank][micro-batch][sample].

        Ranks are balanced by tokens (prompt, response and the padding that the layout needs) and
        may have different numbers of micro-batches, unless they exchange tokens with each other for
        their experts.  The samples of a micro-batch keep their order in `samples`.  A rank that
        would have nothing, or too few micro-batches, gets fillers, fully masked copies of the
        shortest sample with weight 0, so that it runs the same collectives as the others.

        Raises ValueError for a sample above the bound, and for a step without samples.
        """
        if not samples:
            raise ValueError("a step without samples cannot be shared: skip it")
        sizes = [self.config.padded(sample.sample.tokens) for sample in samples]
        if self.config.microbatches is None:
            _check_bound(samples, self.config)
        shared = []
        for members in spread(range(len(samples)), sizes, self.config.data):
            bins = self.split(members, sizes)
            shared.append(tuple(tuple(samples[i] for i in sorted(bin_)) for bin_ in bins))
        filler = (_masked_copy(min(samples, key=lambda sample: sample.sample.tokens)),)
        if self.config.experts_span_shares:
            most = max(map(len, shared))
            return tuple(own + (filler,) * (most - len(own)) for own in shared)
        return tuple(micro_batches or (filler,) for micro_batches in shared)


def build_sharing(config: ParallelConfig) -> Sharing:
    """How the steps of a run are shared."""
    return Sharing(config, build_split(config))


def _check_bound(samples: Sequence[TrainSample], config: ParallelConfig) -> None:
    longest = max(samples, key=lambda sample: sample.sample.tokens).sample
    needed, bound = config.padded(longest.tokens), config.max_tokens_per_microbatch
    if needed > bound:
        raise ValueError(
            f"a sample of rollout {longest.rollout_id} has {longest.tokens} tokens: raise "
            f"parallel.max_tokens_per_microbatch={bound} to at least {needed}"
        )


def _masked_copy(sample: TrainSample) -> TrainSample:
    mask_R = torch.zeros_like(sample.sample.loss_mask_R)
    masked = replace(sample.sample, loss_mask_R=mask_R)
    return replace(sample, sample=masked, weight=0.0, auxiliary_weight=0.0)

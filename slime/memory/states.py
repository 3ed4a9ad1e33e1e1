"""Bytes of what lives as long as a train worker: weights, gradients, optimizer, reference model.

Per parameter, with megatron's distributed data parallel and Adam as slime.megatron sets them up:

                              float32    bfloat16
    weight                       4          2
    gradient, always float32     4          4
    main weight in float32       -          4   )
    Adam's two moments           8          8   ) shared under parallel.distributed_optimizer

Buffers are padded to multiples of 64 to 128 values a tensor; that is not counted.
"""

from dataclasses import dataclass

from slime.config.schema import ParallelConfig
from slime.memory.parameters import Parameters

GRADIENT_BYTES, MOMENTS_BYTES, MAIN_WEIGHT_BYTES = 4, 8, 4


@dataclass(frozen=True, slots=True)
class States:
    """In bytes, of one worker."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer


def states_of(held: Parameters, parallel: ParallelConfig, weight_bytes: int) -> States:
    """weight_bytes: of one parameter, 4 or 2."""
    per_value = MOMENTS_BYTES + (MAIN_WEIGHT_BYTES if weight_bytes < 4 else 0)
    return States(
        weights=weight_bytes * held.total,
        gradients=GRADIENT_BYTES * held.total,
        optimizer=per_value * updated(held, parallel),
    )


def updated(held: Parameters, parallel: ParallelConfig) -> int:
    """How many values one worker keeps optimizer state of."""
    if not parallel.distributed_optimizer:
        return held.total
    copies = parallel.data * parallel.context
    copies_of_experts = copies // parallel.expert
    return -(-held.dense // copies) + -(-held.experts // copies_of_experts)

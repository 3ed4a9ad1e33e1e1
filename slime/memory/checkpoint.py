"""What a checkpoint takes of main memory: a copy of what is saved, which a thread then writes.

Every value is copied by one of the workers that hold it, the first by rank.  A distributed
optimizer's state is first gathered: for a moment every worker has all of it that belongs to its
weights, with the main weights, in float32 (megatron's fully_reshardable format).
tests/memory/test_checkpoint.py holds the copies against those of real workers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from slime.config.schema import ParallelConfig
from slime.memory.parameters import is_first, is_last, of_worker
from slime.memory.states import MAIN_WEIGHT_BYTES, MOMENTS_BYTES, updated
from slime.model.architecture import Architecture

_GATHERED_BYTES = MAIN_WEIGHT_BYTES + MOMENTS_BYTES
_PASSING_BYTES = 8  # while one of the three is gathered: the parts as they come, and together


@dataclass(frozen=True, slots=True)
class CheckpointMemory:
    """In bytes, of the workers of one machine, all in main memory."""

    copied: int  # until it is written
    gathered: int  # while it is copied
    passing: int  # before it is copied

    @property
    def beginning(self) -> int:
        """The most there is while training waits."""
        return self.gathered + max(self.copied, self.passing)


def checkpoint_memory(
    model: Architecture, parallel: ParallelConfig, weight_bytes: int, together: int
) -> CheckpointMemory:
    """Of so many workers on one machine, with ranks that follow each other; the most of any such.

    weight_bytes: of one parameter, 4 or 2.  In float32 the main weights are the weights.
    """
    main = MAIN_WEIGHT_BYTES if weight_bytes < 4 else 0
    of_stage = parallel.workers // parallel.pipeline
    starts = range(0, parallel.workers, of_stage)  # the first workers of a stage have most of it
    machines = [range(n, min(n + together, parallel.workers)) for n in starts]
    copied = max(sum(_written(model, parallel, rank) for rank in ranks) for ranks in machines)
    gathered = passing = 0
    if parallel.distributed_optimizer:
        gathered, passing = max(_gathered(model, parallel, ranks) for ranks in machines)
    return CheckpointMemory((weight_bytes + main + MOMENTS_BYTES) * copied, gathered, passing)


def _written(model: Architecture, parallel: ParallelConfig, rank: int) -> int:
    """How many parameters this worker writes, with all that belongs to them.

    Norms and routers, which tensor-parallel workers have copies of, are counted for each of them.
    """
    stage = _stage(parallel, rank)
    held = of_worker(model, parallel, stage)
    among_copies = rank // parallel.tensor % (parallel.context * parallel.data)
    written = 0
    if among_copies == 0:
        written += held.dense - _embedding_again(model, parallel, stage)
    if among_copies < parallel.expert:
        written += held.experts
    return written


def _embedding_again(model: Architecture, parallel: ParallelConfig, stage: int) -> int:
    """A tied output layer is written by the first stage."""
    if is_first(stage) or not (is_last(parallel, stage) and model.tied_embeddings):
        return 0
    return model.vocabulary_size * model.hidden_size // parallel.tensor


def _gathered(
    model: Architecture, parallel: ParallelConfig, ranks: Iterable[int]
) -> tuple[int, int]:
    """What stays of it until the copy is made, and what passes."""
    held = [of_worker(model, parallel, _stage(parallel, rank)) for rank in ranks]
    values, own = sum(one.total for one in held), sum(updated(one, parallel) for one in held)
    return _GATHERED_BYTES * values, _PASSING_BYTES * values + _GATHERED_BYTES * own


def _stage(parallel: ParallelConfig, rank: int) -> int:
    return rank * parallel.pipeline // parallel.workers

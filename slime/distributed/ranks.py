"""Which part of a step each train worker has, in megatron's order of ranks (tp-cp-dp-pp)."""

from slime.config.schema import ParallelConfig


def data_rank(rank: int, config: ParallelConfig) -> int:
    """The data-parallel share that this worker works on; the workers of a model share one."""
    return rank // (config.tensor * config.context) % config.data


def speaker(data_rank: int, config: ParallelConfig) -> int:
    """The one worker that has the results of a data-parallel share: on the last pipeline stage."""
    stage = config.tensor * config.context * config.data
    return (config.pipeline - 1) * stage + data_rank * config.tensor * config.context

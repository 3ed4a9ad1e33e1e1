"""A layout in words."""

from slime.config.schema import ParallelConfig


def layout_in_words(parallel: ParallelConfig, precision: str) -> str:
    """E.g. "data=2 context=2 thd float32, 4 workers"; sizes of 1 are left out."""
    sizes = [
        f"{name}={size}"
        for name, size in (
            ("data", parallel.data),
            ("context", parallel.context),
            ("tensor", parallel.tensor),
            ("pipeline", parallel.pipeline),
            ("expert", parallel.expert),
            ("microbatches", parallel.microbatches or 1),
        )
        if size > 1
    ]
    if parallel.tensor > 1 and parallel.sequence:
        sizes.append("sequence parallel")
    if parallel.distributed_optimizer:
        sizes.append("distributed optimizer")
    workers = f"{parallel.workers} worker{'s' if parallel.workers > 1 else ''}"
    return f"{' '.join([*sizes, parallel.layout.value, precision])}, {workers}"

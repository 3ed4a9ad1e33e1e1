"""A layout that fits, near the one that does not."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from slime.config.schema import ParallelConfig
from slime.memory.estimate import Subject, estimate
from slime.model.sizes import problems_of_layout, sizes_of_architecture

# Up to here every number of workers is tried, then powers of two.
_EVERY_NUMBER, _MOST_WORKERS = 64, 4096

# What may be changed, in the order in which overrides are written.
_KEYS = (
    "data", "tensor", "pipeline", "expert", "distributed_optimizer", "max_tokens_per_microbatch",
)  # fmt: skip


def fitting_layout(subject: Subject, parallel: ParallelConfig) -> ParallelConfig | None:
    """With as many workers and as few changes as possible, else with the fewest workers that do.

    None: no layout fits, of up to 4096 workers on GPUs, of no more workers than now on a CPU.
    """
    numbers = chain([parallel.workers], _other_numbers(subject, parallel))
    found = (_best(subject, parallel, number) for number in numbers)
    return next((layout for layout in found if layout is not None), None)


def overrides(before: ParallelConfig, after: ParallelConfig) -> list[str]:
    """What to write to come from one layout to the other."""
    changed = [key for key in _KEYS if getattr(before, key) != getattr(after, key)]
    return [f"parallel.{key}={str(getattr(after, key)).lower()}" for key in changed]


def _other_numbers(subject: Subject, parallel: ParallelConfig) -> Iterator[int]:
    """More workers on the same CPU need more of its memory."""
    if not subject.machine.has_gpus:
        yield from range(1, parallel.workers)
        return
    yield from (n for n in range(1, _EVERY_NUMBER + 1) if n != parallel.workers)
    doubled = _EVERY_NUMBER
    while doubled < _MOST_WORKERS:
        doubled *= 2
        yield doubled


def _best(subject: Subject, parallel: ParallelConfig, workers: int) -> ParallelConfig | None:
    machine = subject.machine
    if machine.has_gpus and workers > machine.gpus:  # and one more for the engine
        subject = replace(subject, machine=replace(machine, gpus=workers + 1))
    shapes = _shapes(subject, parallel, workers)
    smallest = [list(_smaller(subject, shape))[-1] for shape in shapes]
    possible = [shape for shape, last in zip(shapes, smallest, strict=True) if _fits(subject, last)]
    layouts = (layout for shape in possible for layout in _smaller(subject, shape))
    fitting = (layout for layout in layouts if _fits(subject, layout))
    return min(fitting, key=lambda layout: _distance(parallel, layout), default=None)


def _fits(subject: Subject, layout: ParallelConfig) -> bool:
    return estimate(subject, layout).fits


def _distance(before: ParallelConfig, after: ParallelConfig) -> tuple[int, int, int, int]:
    """Few keys first, then few workers to a model, then few stages, then large micro-batches."""
    return (
        len(overrides(before, after)),
        after.tensor * after.pipeline,
        after.pipeline,
        -after.max_tokens_per_microbatch,
    )


def _shapes(subject: Subject, parallel: ParallelConfig, workers: int) -> list[ParallelConfig]:
    """Every way in which so many workers divide the model."""
    sizes = sizes_of_architecture(subject.model)
    shared = (sizes.attention_heads, sizes.key_value_heads, sizes.feed_forward_size)
    found = []
    for tensor in _divisors(math.gcd(*shared, sizes.vocabulary_size)):
        for pipeline in _divisors(sizes.layers):
            of_model = tensor * pipeline * parallel.context
            if workers % of_model:
                continue
            data = workers // of_model
            sharing = math.gcd(sizes.experts, data * parallel.context) if sizes.experts else 1
            for expert in _divisors(sharing):
                for distributed in {parallel.distributed_optimizer, True}:
                    changed = replace(
                        parallel,
                        data=data,
                        tensor=tensor,
                        pipeline=pipeline,
                        expert=expert,
                        distributed_optimizer=distributed,
                    )
                    if not list(problems_of_layout(sizes, changed)):
                        found.append(changed)
    return found


def _smaller(subject: Subject, layout: ParallelConfig) -> Iterable[ParallelConfig]:
    """The same with ever smaller micro-batches, down to one sample's; the last is the smallest."""
    least = layout.padded(subject.work.longest)
    yield (
        layout
        if layout.max_tokens_per_microbatch >= least
        else replace(layout, max_tokens_per_microbatch=least)
    )
    tokens = layout.max_tokens_per_microbatch // 2
    while layout.microbatches is None and tokens > least:
        yield replace(layout, max_tokens_per_microbatch=tokens)
        tokens //= 2
    if layout.microbatches is None and layout.max_tokens_per_microbatch > least:
        yield replace(layout, max_tokens_per_microbatch=least)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]

"""A layout that fits, near the one that does not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from slime.config.schema import ParallelConfig
from slime.memory.estimate import Subject, engine_of, estimate
from slime.model.sizes import problems_of_layout, sizes_of_architecture

# Numbers of workers that are tried: so many near the one asked for, then all up to 64 and powers of
# two up to 4096.
_NEAR = 128
_ROUND = (*range(1, 65), *(2**power for power in range(7, 13)))

# What may be changed, in the order in which overrides are written.
_KEYS = (
    "data", "tensor", "pipeline", "expert", "distributed_optimizer", "max_tokens_per_microbatch",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fitting:
    """A layout, and what it was judged with: perhaps a smaller batch of rollouts, more GPUs."""

    subject: Subject
    parallel: ParallelConfig

    def overrides(self, subject: Subject, before: ParallelConfig) -> list[str]:
        """What to write to come here from `before`."""
        written = overrides(before, self.parallel)
        batch = self.subject.work.generated_at_once
        if batch != subject.work.generated_at_once:
            written.append(f"rollout.engine.batch_size={batch}")
        return written


def fitting_layout(subject: Subject, parallel: ParallelConfig) -> Fitting | None:
    """With about as many workers as now on what there is, else on the fewest GPUs that do.

    A smaller batch of rollouts is tried where the engine is what does not fit.
    None: no layout fits, of up to 4096 workers on GPUs, of no more workers than now on a CPU.
    """
    found = (
        _best(smaller, parallel, number)
        for number in _numbers(subject, parallel)
        for smaller in _smaller_engines(_with_gpus_for(subject, number))
    )
    return next((fitting for fitting in found if fitting is not None), None)


def overrides(before: ParallelConfig, after: ParallelConfig) -> list[str]:
    """What to write to come from one layout to the other."""
    changed = [key for key in _KEYS if getattr(before, key) != getattr(after, key)]
    return [f"parallel.{key}={str(getattr(after, key)).lower()}" for key in changed]


def _numbers(subject: Subject, parallel: ParallelConfig) -> Iterator[int]:
    """Those for which there are GPUs, the nearest to now first; then others, the fewest first.

    More workers on the same CPU need more of its memory.
    """
    now, here = parallel.workers, subject.machine.gpus or parallel.workers
    near = sorted(range(1, here + 1), key=lambda number: (abs(number - now), -number))
    yield from near[:_NEAR]
    yield from (number for number in near[_NEAR:] if number in _ROUND)
    if subject.machine.has_gpus:
        yield from (number for number in _ROUND if number > here)


def _with_gpus_for(subject: Subject, workers: int) -> Subject:
    """More GPUs where these do not suffice, with one for the engine."""
    machine = subject.machine
    if not machine.has_gpus or workers <= machine.gpus:
        return subject
    return replace(subject, machine=replace(machine, gpus=workers + 1))


def _smaller_engines(subject: Subject) -> Iterator[Subject]:
    """As it is, and with ever smaller batches of rollouts; only those that are not hopeless."""
    batch = subject.work.generated_at_once
    if batch is None:
        yield subject
        return
    while batch >= 1:
        work = replace(subject.work, generated_at_once=batch)
        work = replace(work, prompts_at_once=min(batch, subject.work.prompts_at_once))
        smaller = replace(subject, work=work)
        if _engine_alone_fits(smaller):
            yield smaller
        batch //= 2


def _engine_alone_fits(subject: Subject) -> bool:
    engine, machine = engine_of(subject), subject.machine
    has = machine.gpu_memory if machine.has_gpus else machine.memory
    return engine is None or has is None or engine.total <= has


def _best(subject: Subject, parallel: ParallelConfig, workers: int) -> Fitting | None:
    fitting = [
        layout
        for shape in _shapes(subject, parallel, workers)
        for layout in _sizes_that_fit(subject, shape)
    ]
    nearest = min(fitting, key=lambda layout: _distance(parallel, layout), default=None)
    return None if nearest is None else Fitting(subject, nearest)


def _distance(before: ParallelConfig, after: ParallelConfig) -> tuple[float, ...]:
    """About as many workers to a model as now, then few keys, few stages, large micro-batches."""
    times = (after.tensor * after.pipeline) / (before.tensor * before.pipeline)
    return (
        abs(math.log2(times)),
        len(overrides(before, after)),
        after.pipeline,
        -after.max_tokens_per_microbatch,
        after.expert,
    )


def _shapes(subject: Subject, parallel: ParallelConfig, workers: int) -> Iterator[ParallelConfig]:
    """Every way in which so many workers divide the model."""
    sizes = sizes_of_architecture(subject.model)
    shared = (sizes.attention_heads, sizes.key_value_heads, sizes.feed_forward_size)
    for tensor in _divisors(math.gcd(*shared, sizes.vocabulary_size)):
        for pipeline in _divisors(sizes.layers):
            of_model = tensor * pipeline * parallel.context
            if workers % of_model:
                continue
            data = workers // of_model
            most_shares = math.gcd(sizes.experts, data * parallel.context) if sizes.experts else 1
            for expert in _divisors(most_shares):
                for distributed in {parallel.distributed_optimizer, True}:
                    shape = replace(
                        parallel,
                        data=data,
                        tensor=tensor,
                        pipeline=pipeline,
                        expert=expert,
                        distributed_optimizer=distributed,
                    )
                    if not any(problems_of_layout(sizes, shape)):
                        yield shape


def _sizes_that_fit(subject: Subject, shape: ParallelConfig) -> Iterator[ParallelConfig]:
    """The same with micro-batches ever half as large, down to one sample's, as far as they fit."""
    least = shape.padded(subject.work.longest)
    tokens = [max(shape.max_tokens_per_microbatch, least)]
    while shape.microbatches is None and tokens[-1] > least:
        tokens.append(max(tokens[-1] // 2, least))
    layouts = [replace(shape, max_tokens_per_microbatch=bound) for bound in tokens]
    if estimate(subject, layouts[-1]).fits:
        yield from (layout for layout in layouts if estimate(subject, layout).fits)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]

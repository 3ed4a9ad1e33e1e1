"""What to say where something does not fit: what is short, and the overrides under which it fits"""

from collections.abc import Iterator

from slime.memory.estimate import Estimate, Need, estimate
from slime.memory.search import fitting_layout
from slime.memory.table import gib


def problems_of(found: Estimate) -> Iterator[str]:
    """A line for each memory that is too small, and one with what to write; none if all fits."""
    gpus, workers = found.subject.machine.gpus, found.parallel.workers
    if gpus and workers > gpus:
        yield (
            f"parallel.data x context x tensor x pipeline = {workers} train workers need a GPU "
            f"each, and there are {gpus}"
        )
    short = [need for need in found.needs if not need.fits]
    yield from (f"{need.where}: {_needs(need)}" for need in short)
    if short or (gpus and workers > gpus):
        yield advice(found)


def advice(found: Estimate) -> str:
    """What to write, or that no layout helps."""
    subject = found.subject
    fitting = fitting_layout(subject, found.parallel)
    if fitting is None:
        return f"no layout of the train workers fits: {_beyond_layouts(found)}"
    written = " ".join(fitting.overrides(subject, found.parallel)) or "the same layout"
    after = estimate(fitting.subject, fitting.parallel)
    tightest = max(after.needs, key=lambda need: need.bytes / need.has)
    gpus, workers = fitting.subject.machine.gpus, fitting.parallel.workers
    more = f" on {gpus} GPUs" if gpus > subject.machine.gpus else ""
    return (
        f"what fits, with {workers} worker{'s' if workers > 1 else ''}{more}: {written} "
        f"({tightest.where}: {_needs(tightest)})"
    )


def _beyond_layouts(found: Estimate) -> str:
    engine, machine = found.engine, found.subject.machine
    if engine is not None and machine.has_gpus and engine.weights > machine.gpu_memory:
        return (
            f"rollout/engine=local holds the whole model, {gib(engine.weights)} GiB, on one GPU of "
            f"{gib(machine.gpu_memory)} GiB"
        )
    smaller = "" if found.device.element_bytes == 2 else ", parallel.precision=bfloat16"
    cache = ", a smaller rollout.engine.batch_size" if engine is not None else ""
    return (
        f"it takes more memory, a smaller model, shorter responses, a larger parallel.context"
        f"{cache}{smaller}"
    )


def _needs(need: Need) -> str:
    return f"needs {gib(need.bytes)} of {gib(need.has)} GiB"

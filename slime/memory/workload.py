"""What a run asks of its workers, as far as memory goes: how many sequences, and how long."""

from dataclasses import dataclass

from slime.config.schema import (
    Config,
    Demonstrations,
    LocalEngine,
    ParallelConfig,
    Precision,
    ReferenceKLConfig,
)
from slime.config.schema.parallel import Layout
from slime.memory.activations import MicroBatch

# Attention runs on sequences as long as the longest of their micro-batch.  By how much that is
# longer than the average is not known before there are responses; this is taken for it.
DENSE_ROWS_OF_A_TOKEN = 2


@dataclass(frozen=True, slots=True)
class Workload:
    """Every number is the largest that can occur."""

    samples: int  # of an optimizer step
    prompt_tokens: int
    response_tokens: int
    keeps_reference: bool
    generated_at_once: int | None  # rollouts; None: no engine
    prompts_at_once: int
    saves_while_training: bool  # or at the end only

    @property
    def longest(self) -> int:
        """Tokens of a sample."""
        return self.prompt_tokens + self.response_tokens


@dataclass(frozen=True, slots=True)
class Device:
    """What a worker computes on."""

    on_gpu: bool
    element_bytes: int  # of parameters and activations: 4 or 2


def device_of(precision: Precision, *, on_gpu: bool) -> Device:
    """As slime.model.precision decides it, without torch."""
    match precision:
        case Precision.float32:
            return Device(on_gpu, 4)
        case Precision.bfloat16:
            return Device(on_gpu, 2)
        case Precision.auto:
            return Device(on_gpu, 2 if on_gpu else 4)


def workload_of(config: Config) -> Workload:
    """Replayed rollouts have sizes of their own; they are taken to be those of rollout.*."""
    rollout = config.rollout
    prompts = -(-rollout.prompts_per_iteration // config.steps_per_iteration)
    rollouts, all_prompts = 0, config.evaluation.prompts
    if not isinstance(rollout.engine, Demonstrations):  # they sample for evaluation only
        rollouts = rollout.prompts_per_iteration * rollout.samples_per_prompt
        all_prompts = max(all_prompts, rollout.prompts_per_iteration)
    at_once = None
    if isinstance(rollout.engine, LocalEngine):
        at_once = min(rollout.engine.batch_size, max(rollouts, config.evaluation.prompts))
    return Workload(
        samples=prompts * rollout.samples_per_prompt,
        prompt_tokens=rollout.max_prompt_tokens,
        response_tokens=rollout.max_response_tokens,
        keeps_reference=isinstance(config.loss.kl, ReferenceKLConfig),
        generated_at_once=at_once,
        prompts_at_once=min(at_once or 0, all_prompts),
        saves_while_training=0 < config.checkpoint.interval < config.iterations,
    )


def largest_micro_batch(work: Workload, parallel: ParallelConfig) -> MicroBatch:
    """What one worker has of the largest micro-batch there can be."""
    padded, share = parallel.padded(work.longest), _share(work, parallel)
    if parallel.microbatches is None:
        whole = min(max(parallel.max_tokens_per_microbatch, padded), share * padded)
    else:
        whole = -(-share // parallel.microbatches) * padded
    tokens = -(-whole // parallel.context)
    several = parallel.layout is Layout.thd and whole > padded
    rows = tokens * (DENSE_ROWS_OF_A_TOKEN if several else 1)
    return MicroBatch(tokens, rows, padded)


def most_micro_batches(work: Workload, parallel: ParallelConfig) -> int:
    """Of one step, on one worker."""
    if parallel.microbatches is not None:
        return parallel.microbatches
    in_one = max(1, parallel.max_tokens_per_microbatch // parallel.padded(work.longest))
    return -(-_share(work, parallel) // in_one)


def _share(work: Workload, parallel: ParallelConfig) -> int:
    """Samples of a data-parallel share."""
    return -(-work.samples // parallel.data)

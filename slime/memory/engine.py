"""What the local rollout engine needs: the whole model in one process, keys and values, logits."""

from dataclasses import dataclass

from slime.memory.workload import Device, Workload
from slime.model.architecture import Architecture

_FLOAT32 = 4
_LOGITS = 3  # [rows, vocabulary] in float32: over the temperature, the softmax, its running sum


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """In bytes."""

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.working


def engine_memory(
    model: Architecture, work: Workload, device: Device, parameters: int
) -> EngineMemory | None:
    """parameters: of the whole model.  None: nothing is generated.  Without the process itself.

    The cache holds a key and a value of every head for every token that a row can come to; when
    rows are taken in or out, one layer's is there twice (slime.rollout.kv_cache).
    """
    rows = work.generated_at_once
    if rows is None:
        return None
    element = device.element_bytes
    of_token = 2 * model.key_value_heads * model.head_size * element
    cache = rows * work.longest * of_token * (model.layers + 1)
    logits = rows * model.vocabulary_size * (element + _LOGITS * _FLOAT32)
    return EngineMemory(element * parameters, cache, max(logits, _prefill(model, work, element)))


def _prefill(model: Architecture, work: Workload, element: int) -> int:
    """All distinct prompts of a batch at once through one layer after the other."""
    rows = model.feed_forward_size
    if model.experts is not None:
        experts = model.experts
        rows = max(
            rows if experts.dense_layers else 0, experts.per_token * experts.feed_forward_size
        )
    return element * work.prompts_at_once * work.prompt_tokens * (4 * model.hidden_size + 3 * rows)

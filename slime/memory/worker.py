"""All that one train worker needs, at the worst moment of a step."""

from dataclasses import dataclass

from slime.config.schema import ParallelConfig
from slime.memory.activations import MicroBatch, activation_bytes
from slime.memory.parameters import is_first, is_last, of_worker
from slime.memory.states import States, states_of, updated
from slime.memory.workload import Device, Workload, largest_micro_batch, most_micro_batches
from slime.model.architecture import Architecture

_FLOAT32 = 4
_CHUNKS = 3  # tensors of slime.loss.log_probs that are as large as a chunk of logits
_CPU_CHUNK_ELEMENTS, _GPU_CHUNK_ELEMENTS = 2**22, 2**24


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """In bytes, of one worker of a pipeline stage."""

    stage: int
    parameters: int  # a count
    states: States
    reference: int
    activations: int
    working: int  # what the worst moment needs beside the rest
    in_flight: int  # micro-batches whose activations are there at once

    @property
    def total(self) -> int:
        return self.states.total + self.reference + self.activations + self.working


def worker_memory(
    model: Architecture, work: Workload, parallel: ParallelConfig, device: Device, stage: int
) -> WorkerMemory:
    """Of a worker of pipeline stage `stage`, counted from 0; without the process itself.

    Stage s of p starts p - s micro-batches before the first of them comes back (1F1B, Narayanan et
    al., arXiv:2104.04473, section 2.2).
    """
    held = of_worker(model, parallel, stage)
    states = states_of(held, parallel, device.element_bytes)
    batch = largest_micro_batch(work, parallel)
    in_flight = min(parallel.pipeline - stage, most_micro_batches(work, parallel))
    one = activation_bytes(model, parallel, stage, batch, device.element_bytes)
    moments = [
        _passing_on(model, parallel, batch, device),
        _embedding_gradient(model, parallel, stage, device) - one,
        _step(updated(held, parallel), device) - in_flight * one,
    ]
    if is_last(parallel, stage):
        moments.append(_loss(model, parallel, batch, device))
    return WorkerMemory(
        stage=stage,
        parameters=held.total,
        states=states,
        reference=states.weights if work.keeps_reference else 0,
        activations=in_flight * one,
        working=max(moments),
        in_flight=in_flight,
    )


def _passing_on(
    model: Architecture, parallel: ParallelConfig, batch: MicroBatch, device: Device
) -> int:
    """A layer's backward pass: gradients of its hidden states and of its widest products."""
    experts, rows = model.experts, model.feed_forward_size
    if experts is not None:
        rows = max(
            rows if experts.dense_layers else 0, experts.per_token * experts.feed_forward_size
        )
    width = 2 * model.hidden_size + 3 * rows // parallel.tensor
    return device.element_bytes * batch.tokens * width


def _loss(model: Architecture, parallel: ParallelConfig, batch: MicroBatch, device: Device) -> int:
    """Log-probs of every token: its hidden state twice and its gradient, some chunks of logits, and
    the gradient of the output layer, which exists beside the one it is added to.
    """
    element, states = device.element_bytes, batch.tokens * model.hidden_size
    vocabulary = model.vocabulary_size // parallel.tensor
    most = _GPU_CHUNK_ELEMENTS if device.on_gpu else _CPU_CHUNK_ELEMENTS
    chunk = min(most, max(batch.tokens, model.hidden_size) * vocabulary)
    return (
        (2 * element + _FLOAT32) * states
        + _CHUNKS * _FLOAT32 * chunk
        + element * vocabulary * model.hidden_size
    )


def _embedding_gradient(
    model: Architecture, parallel: ParallelConfig, stage: int, device: Device
) -> int:
    """The last that a backward pass makes, when its activations are gone."""
    rows = model.vocabulary_size // parallel.tensor if is_first(stage) else 0
    return device.element_bytes * rows * model.hidden_size


def _step(values: int, device: Device) -> int:
    """Adam's roots: torch makes all of them at once on a GPU, one tensor's at a time on a CPU."""
    return _FLOAT32 * values if device.on_gpu else 0

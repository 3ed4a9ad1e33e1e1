"""The whole run: every kind of worker, the engine, and how much of which memory that takes."""

from dataclasses import dataclass

from slime.config.schema import ParallelConfig, Precision
from slime.memory.checkpoint import CheckpointMemory, checkpoint_memory
from slime.memory.engine import EngineMemory, engine_memory
from slime.memory.machine import GIB, Machine
from slime.memory.parameters import of_model
from slime.memory.worker import WorkerMemory, worker_memory
from slime.memory.workload import Device, Workload, device_of
from slime.model.architecture import Architecture

# Of a process before it holds anything: what importing torch, megatron and Ray takes, and Ray's own
# processes (benchmarks/memory.py).  That of a GPU (CUDA, NCCL, workspaces) was not measured.
TRAIN_PROCESS, ENGINE_PROCESS, DRIVER_AND_RAY = int(0.5 * GIB), int(0.4 * GIB), int(1.2 * GIB)
GPU_PROCESS = int(2 * GIB)

# How many train workers share a machine's main memory, where each has a GPU.
GPUS_OF_A_MACHINE = 8


@dataclass(frozen=True, slots=True)
class Need:
    """Some memory, what has to fit into it, and what it has."""

    where: str
    bytes: int
    states: int  # of them, those that no setting of a micro-batch or an engine changes
    has: int

    @property
    def fits(self) -> bool:
        return self.bytes <= self.has


@dataclass(frozen=True, slots=True)
class Subject:
    """What the memory is asked for: all but the layout."""

    model: Architecture
    work: Workload
    precision: Precision
    machine: Machine


@dataclass(frozen=True, slots=True)
class Estimate:
    """In bytes."""

    subject: Subject
    parallel: ParallelConfig
    device: Device
    stages: tuple[WorkerMemory, ...]  # one worker of each pipeline stage
    engine: EngineMemory | None
    checkpoint: CheckpointMemory
    pushed: int  # the whole model, as it goes from the trainer to the engine

    @property
    def needs(self) -> list[Need]:
        """Of each memory that is judged."""
        return _on_gpus(self) if self.device.on_gpu else _in_main_memory(self)

    @property
    def fits(self) -> bool:
        return all(need.fits for need in self.needs)

    @property
    def states_fit(self) -> bool:
        """Whether weights, gradients and optimizer do, were there nothing else."""
        return all(need.states <= need.has for need in self.needs)


def estimate(subject: Subject, parallel: ParallelConfig) -> Estimate:
    """The layout must divide the model."""
    device = device_of(subject.precision, on_gpu=subject.machine.has_gpus)
    together = GPUS_OF_A_MACHINE if device.on_gpu else parallel.workers
    return Estimate(
        subject,
        parallel,
        device,
        stages=tuple(
            worker_memory(subject.model, subject.work, parallel, device, stage)
            for stage in range(parallel.pipeline)
        ),
        engine=engine_of(subject),
        checkpoint=checkpoint_memory(subject.model, parallel, device.element_bytes, together),
        pushed=device.element_bytes * of_model(subject.model),
    )


def engine_of(subject: Subject) -> EngineMemory | None:
    device = device_of(subject.precision, on_gpu=subject.machine.has_gpus)
    return engine_memory(subject.model, subject.work, device, of_model(subject.model))


def _in_main_memory(found: Estimate) -> list[Need]:
    """Workers, engine and Ray's object store have one memory; they take turns.

    While training or generating the store holds the weights that were pushed last.  While pushing
    it holds these and the new ones, and the new ones are also being written by the trainer and read
    by the engine.  The copies of a checkpoint are there while any of this goes on.
    """
    memory, pushed = found.subject.machine.memory, found.pushed
    stages, engine = found.stages, found.engine
    if memory is None:
        return []
    each = found.parallel.workers // found.parallel.pipeline
    states = each * sum(stage.states.total for stage in stages)
    always = states + each * sum(stage.reference + TRAIN_PROCESS for stage in stages)
    training = each * sum(stage.activations + stage.working for stage in stages) + pushed
    turns = [training]
    always += DRIVER_AND_RAY
    if engine is not None:
        always += ENGINE_PROCESS + engine.weights
        turns += [pushed + engine.cache + engine.working, 4 * pushed]
    most = _with_checkpoint(found, max(turns))
    return [Need("main memory", always + most, states, memory)]


def _with_checkpoint(found: Estimate, turn: int) -> int:
    """The most there is: in a turn, perhaps with copies being written, or as these are made."""
    meanwhile = found.checkpoint.copied if found.subject.work.saves_while_training else 0
    return max(turn + meanwhile, found.pushed + found.checkpoint.beginning)


def _on_gpus(found: Estimate) -> list[Need]:
    """A GPU for each worker; the engine has one too, or shares a worker's (slime.cluster.session).

    In main memory there are, for the engine's machine, the old and the new weights in Ray's store
    and the new ones once more as the engine reads them; and what its workers copy for a checkpoint.
    """
    machine, stages, engine = found.subject.machine, found.stages, found.engine
    largest = max(stages, key=lambda stage: stage.total)
    states = max(stage.states.total for stage in stages)
    of_worker = largest.total + GPU_PROCESS
    needs = []
    if engine is None:
        needs.append(Need("a train worker's GPU", of_worker, states, machine.gpu_memory))
    elif machine.gpus > found.parallel.workers:
        of_engine = engine.total + GPU_PROCESS
        needs.append(Need("a train worker's GPU", of_worker, states, machine.gpu_memory))
        needs.append(Need("the engine's GPU", of_engine, 0, machine.gpu_memory))
    else:
        both = of_worker + engine.total + GPU_PROCESS
        where = "the GPU of a train worker and the engine"
        needs.append(Need(where, both, states, machine.gpu_memory))
    if machine.memory is not None:
        most = _with_checkpoint(found, 3 * found.pushed)
        needs.append(Need("main memory", most, 0, machine.memory))
    return needs

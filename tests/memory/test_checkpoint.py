"""What a checkpoint copies and gathers, by hand and in real workers."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from memory.architectures import LLAMA, MIXTURE
from processes import free_port, run_processes
from tiny_models import write_tiny_model
from train_samples import POLICY_ONLY, worker_spec
from train_worker_cases import running

from slime.config.schema import ParallelConfig, Precision
from slime.memory.checkpoint import checkpoint_memory
from slime.memory.parameters import of_model, of_worker
from slime.model.architecture import read_architecture

P = ParallelConfig

# ---- by hand ----


@pytest.mark.parametrize(("weight_bytes", "each"), [(4, 4 + 4 + 4), (2, 2 + 4 + 4 + 4)])
def test_a_parameter_is_copied_with_two_moments_and_a_main_weight_where_it_is_another(
    weight_bytes, each
):
    saved = checkpoint_memory(LLAMA, P(), weight_bytes, 1)
    assert (saved.copied, saved.gathered, saved.passing) == (each * of_model(LLAMA), 0, 0)
    assert saved.beginning == saved.copied


def test_of_workers_with_the_same_weights_one_copies_them():
    alone = checkpoint_memory(LLAMA, P(), 4, 1)
    for parallel in (P(data=4), P(context=4), P(data=2, context=2)):
        assert checkpoint_memory(LLAMA, parallel, 4, 4).copied == alone.copied
        assert checkpoint_memory(LLAMA, parallel, 4, 1).copied == alone.copied


def test_stages_copy_a_tied_embedding_once():
    parallel = P(pipeline=4)
    whole = checkpoint_memory(LLAMA, parallel, 4, 4)
    assert whole.copied == 12 * of_model(LLAMA)
    first = checkpoint_memory(LLAMA, parallel, 4, 1)
    assert first.copied == 12 * of_worker(LLAMA, parallel, 0).total


def test_workers_that_share_experts_copy_their_own():
    """Four workers, two to all experts: the first copies its half and what is no expert."""
    parallel = P(data=4, expert=2)
    held = of_worker(MIXTURE, parallel, 0)
    assert checkpoint_memory(MIXTURE, parallel, 4, 1).copied == 12 * held.total
    assert checkpoint_memory(MIXTURE, parallel, 4, 4).copied == 12 * (held.total + held.experts)


def test_every_worker_gathers_what_a_distributed_optimizer_has_shared():
    """12 bytes of each parameter that a worker holds; meanwhile 8 of them, and its own part."""
    values = of_model(LLAMA)
    saved = checkpoint_memory(LLAMA, P(data=4, distributed_optimizer=True), 4, 4)
    assert saved.copied == 12 * values
    assert saved.gathered == 4 * 12 * values
    assert saved.passing == 4 * (8 * values + 12 * -(-values // 4))
    assert saved.beginning == saved.gathered + saved.passing


# ---- in real workers ----

LAYOUTS = {
    "data": ("llama", {"data": 2}),
    "distributed": ("llama", {"data": 2, "distributed_optimizer": True}),
    "context": ("llama", {"context": 2}),
    "tensor": ("llama", {"tensor": 2}),
    "pipeline, tied": ("qwen3", {"pipeline": 2}),
    "expert": ("qwen3_moe", {"data": 2, "expert": 2}),
    "expert, distributed": ("qwen3_moe", {"data": 2, "expert": 2, "distributed_optimizer": True}),
}
ALONE = {
    "float32": ("llama", {}),
    "bfloat16": ("qwen3", {"precision": Precision.bfloat16}),
    "distributed": ("qwen3_moe", {"distributed_optimizer": True}),
}
Layouts = dict[str, tuple[str, dict]]


@dataclass(frozen=True)
class Measured:
    """In bytes, of one worker."""

    copied: int
    gathered: int


def measure(rank: int, root: Path, ports: dict[str, int], layouts: Layouts) -> list[Measured]:
    return [measured(rank, root, name, ports[name], *case) for name, case in layouts.items()]


def measured(rank: int, root: Path, name: str, port: int, family: str, layout: dict) -> Measured:
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
    from torch import Tensor, distributed

    gathered, gather = [], DistributedOptimizer.get_parameter_state_dp_zero

    def remembered(*arguments, **options):
        found = gather(*arguments, **options)
        for buffer, of_dtypes in found.items():
            if buffer != "buckets_coalesced":
                gathered.extend(t for tensors in of_dtypes.values() for t in tensors.values())
        return found

    folder = root / f"{name} at {layout.get('data', 1)}"
    spec = worker_spec(root / family, loss=POLICY_ONLY)
    spec = replace(spec, parallel=replace(spec.parallel, **layout))
    DistributedOptimizer.get_parameter_state_dp_zero = remembered
    try:
        with running(spec, rank, port) as worker:
            if rank == 0:
                folder.mkdir()
            distributed.barrier()
            copied = copies_of(worker, folder)
            worker.finish_checkpoint()
    finally:
        DistributedOptimizer.get_parameter_state_dp_zero = gather
    return Measured(copied, sum(t.nbytes for t in gathered if isinstance(t, Tensor)))


def copies_of(worker, folder: Path) -> int:
    """Begin a checkpoint.  -> the bytes of its copies"""
    from slime.megatron.checkpoint_files import Snapshot

    sizes, write = [], Snapshot.write

    def counted(snapshot):
        sizes.append(sum(t.nbytes for t in snapshot._copies.values()))
        write(snapshot)

    Snapshot.write = counted
    try:
        worker.begin_checkpoint(folder)
        worker._checkpoint._thread.join()
    finally:
        Snapshot.write = write
    return sum(sizes)


@pytest.mark.parametrize(
    ("workers", "layouts"), [(1, ALONE), pytest.param(2, LAYOUTS, marks=pytest.mark.slow)]
)
def test_workers_copy_and_gather_what_the_arithmetic_says(workers, layouts, tmp_path):
    for family in {family for family, _ in layouts.values()}:
        write_tiny_model(tmp_path / family, family)
    ports = {name: free_port() if workers > 1 else 0 for name in layouts}
    of_ranks = run_processes(workers, measure, tmp_path, ports, layouts)
    wrong = []
    for found, (name, (family, layout)) in zip(
        zip(*of_ranks, strict=True), layouts.items(), strict=True
    ):
        model, parallel = read_architecture(tmp_path / family), P(**layout)
        weight_bytes = 2 if parallel.precision is Precision.bfloat16 else 4
        together = checkpoint_memory(model, parallel, weight_bytes, workers)
        one = checkpoint_memory(model, parallel, weight_bytes, 1)
        # Norms that tensor-parallel workers have copies of, and padding of gathered buffers.
        for which, expected, real in (
            ("all copied", together.copied, sum(one.copied for one in found)),
            ("most copied", one.copied, max(one.copied for one in found)),
            ("all gathered", together.gathered, sum(one.gathered for one in found)),
        ):
            if expected != pytest.approx(real, rel=0.02):
                wrong.append(f"{name}, {which}: {expected} but {real}")
    assert wrong == []

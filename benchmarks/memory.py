"""The estimate of command=plan beside the peak memory of real processes, on the CPU.

    OMP_NUM_THREADS=1 python benchmarks/memory.py                # every case
    OMP_NUM_THREADS=1 python benchmarks/memory.py tiny smollm2-512

One train worker and one rollout engine for each case, each in a process of its own.  What is
measured is the most that the process had resident, its libraries included.
"""

import argparse
import multiprocessing
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from slime.config.schema import (
    K3,
    AdamConfig,
    KLConfig,
    LossConfig,
    ModelConfig,
    ParallelConfig,
    Precision,
    SampleMeanLoss,
    SmolLM2Model,
    TinyModel,
    TinyMoeModel,
)
from slime.config.schema.loss_objectives import PPO
from slime.data import Sample, TrainSample
from slime.memory.engine import engine_memory
from slime.memory.estimate import ENGINE_PROCESS, TRAIN_PROCESS
from slime.memory.parameters import of_model
from slime.memory.worker import worker_memory
from slime.memory.workload import Workload, device_of
from slime.model.architecture_of import architecture_of
from slime.model.prepare import prepare_model

GIB = 2**30
SAMPLES = 16


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    model: ModelConfig
    tokens: int  # of a micro-batch
    longest: int  # tokens of a sample; the shortest has half as many
    kl: KLConfig
    precision: Precision = Precision.float32
    rollouts: int = 64

    @property
    def loss(self) -> LossConfig:
        return SampleMeanLoss(objective=PPO(), kl=self.kl)

    @property
    def parallel(self) -> ParallelConfig:
        return ParallelConfig(max_tokens_per_microbatch=self.tokens, precision=self.precision)

    @property
    def work(self) -> Workload:
        prompt = self.longest // 4
        return Workload(
            samples=SAMPLES,
            prompt_tokens=prompt,
            response_tokens=self.longest - prompt,
            keeps_reference=isinstance(self.kl, K3),
            generated_at_once=self.rollouts,
            prompts_at_once=self.rollouts // 8,
            saves_while_training=False,
        )


SMOLLM2, WIDE = SmolLM2Model(), TinyModel(hidden_size=512, layers=8)
CASES = {
    "tiny": Case("tiny", TinyModel(), 2048, 256, KLConfig()),
    "wide": Case("tiny, 512 wide, 8 layers", WIDE, 4096, 256, KLConfig()),
    "moe": Case("tiny_moe, 256 wide", TinyMoeModel(hidden_size=256), 4096, 256, KLConfig()),
    "smollm2-512": Case("smollm2_135m", SMOLLM2, 512, 128, KLConfig(), rollouts=32),
    "smollm2-2048": Case("smollm2_135m", SMOLLM2, 2048, 128, KLConfig(), rollouts=32),
    "smollm2-kl": Case("smollm2_135m, loss/kl=k3", SMOLLM2, 1024, 128, K3(), rollouts=32),
    "smollm2-bfloat16": Case(
        "smollm2_135m, bfloat16", SMOLLM2, 1024, 128, KLConfig(), Precision.bfloat16, rollouts=32
    ),
}


@dataclass(frozen=True)
class Measured:
    """In bytes."""

    process: int  # after the imports
    peak: int


def train_worker(case: Case, folder: Path) -> Measured:
    from slime.distributed.rendezvous import Rendezvous
    from slime.megatron import device_layer
    from slime.megatron.spec import TrainWorkerSpec
    from slime.megatron.worker import TrainWorker

    device_layer.install()
    before = resident()
    forget_peak()
    spec = TrainWorkerSpec(
        str(folder), case.loss, AdamConfig(), case.parallel, 1.0, total_steps=2, seed=0
    )
    worker = TrainWorker(spec, Rendezvous(0, 1, "127.0.0.1", free_port()))
    micro_batches = packed(case)
    for _ in range(2):
        worker.train(micro_batches)
    measured = Measured(before, peak())
    worker.close()
    return measured


def engine(case: Case, folder: Path) -> Measured:
    import transformers.models.auto.modeling_auto  # noqa: F401

    from slime.rollout.engine import Request, Sampling
    from slime.rollout.local import LocalEngine

    before = resident()
    forget_peak()
    running = LocalEngine(str(folder), case.rollouts, case.precision)
    work = case.work
    prompts = [tuple(range(n, n + work.prompt_tokens)) for n in range(work.prompts_at_once)]
    prompts = [tuple(3 + t % 90 for t in prompt) for prompt in prompts]
    requests = [Request(prompts[n % len(prompts)], n) for n in range(case.rollouts)]
    running.generate(requests, Sampling(1.0, 1.0, work.response_tokens, frozenset()))
    return Measured(before, peak())


def packed(case: Case) -> list[list[TrainSample]]:
    """Samples of half the longest length to all of it, in micro-batches that are nearly full."""
    draw, batches, room = random.Random(0), list[list[TrainSample]](), 0
    for number in range(SAMPLES):
        tokens = case.longest if number == 0 else draw.randint(case.longest // 2, case.longest)
        if tokens > room:
            batches.append([])
            room = case.tokens
        batches[-1].append(_sample(number, tokens, case))
        room -= tokens
    return batches


def _sample(number: int, tokens: int, case: Case) -> TrainSample:
    prompt = case.work.prompt_tokens
    response_R = torch.randint(0, 90, (tokens - prompt,))
    numbers_R = torch.full(response_R.shape, -4.5)
    sample = Sample(
        prompt_id=number // 4,
        rollout_id=number,
        prompt_tokens_P=torch.randint(0, 90, (prompt,)),
        response_tokens_R=response_R,
        loss_mask_R=torch.ones_like(response_R, dtype=torch.bool),
        rollout_log_probs_R=numbers_R,
    )
    return TrainSample(
        sample=sample,
        advantages_R=torch.ones_like(numbers_R),
        weight=1e-3,
        auxiliary_weight=1e-3,
        reference_log_probs_R=numbers_R if isinstance(case.kl, K3) else None,
    )


def status(field: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if field in line)


def resident() -> int:
    return status("VmRSS")


def peak() -> int:
    return status("VmHWM")


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_a_process(function: Callable[[Case, Path], Measured], case: Case, folder: Path) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (case, folder))


def row(case: Case) -> str:
    folder, model = prepare_model(case.model), architecture_of(case.model)
    device = device_of(case.precision, on_gpu=False)
    worker = worker_memory(model, case.work, case.parallel, device, 0)
    generating = engine_memory(model, case.work, device, of_model(model))
    assert generating is not None
    trained, generated = (
        in_a_process(train_worker, case, folder),
        in_a_process(engine, case, folder),
    )
    cells = [case.name, f"{case.tokens} x {case.longest}"]
    for estimated, measured in (
        (worker.total + TRAIN_PROCESS, trained),
        (generating.total + ENGINE_PROCESS, generated),
    ):
        cells += [f"{size / GIB:.2f}" for size in (estimated, measured.peak)]
        cells += [f"{estimated / measured.peak:.2f}", f"{measured.process / GIB:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; or all")
    given = parser.parse_args().cases or list(CASES)
    if unknown := [name for name in given if name not in CASES]:
        parser.error(f"no case is named {unknown[0]}; there are {', '.join(CASES)}")
    rest = "measured | ratio | process"
    columns = f"worker: estimate | {rest} | engine: estimate | {rest}"
    print(f"| | micro-batch x longest | {columns} |\n|{'---|' * 10}", flush=True)
    for name in given:
        print(row(CASES[name]), flush=True)


if __name__ == "__main__":
    main()

"""The counts are those of megatron's real models, and activations those that autograd keeps."""

from dataclasses import replace

import pytest
import torch
from memory.architectures import LLAMA, MIXTURE, PARTLY, QWEN2, QWEN3
from memory.cases import Case, measure, ports
from processes import run_processes

from slime.config.schema import ParallelConfig
from slime.memory.activations import MicroBatch, activation_bytes
from slime.memory.parameters import of_worker

P = ParallelConfig
LENGTHS = (32, 20, 16, 12)

ONE = {
    "qwen3": Case(QWEN3, P(), lengths=LENGTHS),
    "llama": Case(LLAMA, P(), lengths=LENGTHS),
    "qwen2": Case(QWEN2, P(), lengths=LENGTHS),
    "untied llama": Case(replace(LLAMA, tied_embeddings=False), P(), lengths=LENGTHS),
    "mixture": Case(MIXTURE, P(), lengths=LENGTHS),
    "partly": Case(PARTLY, P(), lengths=LENGTHS),
    "qwen3 bfloat16": Case(QWEN3, P(), torch.bfloat16, LENGTHS),
    "llama bfloat16": Case(LLAMA, P(), torch.bfloat16, LENGTHS),
    "mixture bfloat16": Case(MIXTURE, P(), torch.bfloat16, LENGTHS),
}
TWO = {
    "tp2": Case(QWEN3, P(tensor=2), lengths=LENGTHS),
    "tp2 without sequence": Case(LLAMA, P(tensor=2, sequence=False), lengths=LENGTHS),
    "tp2 bfloat16": Case(QWEN3, P(tensor=2), torch.bfloat16, LENGTHS),
    "tp2 mixture": Case(MIXTURE, P(tensor=2), lengths=LENGTHS),
    "cp2": Case(QWEN3, P(context=2), lengths=LENGTHS),
    "cp2 bfloat16": Case(LLAMA, P(context=2), torch.bfloat16, LENGTHS),
    "pp2": Case(QWEN3, P(pipeline=2)),
    "pp2 tied": Case(LLAMA, P(pipeline=2)),
    "pp2 partly": Case(PARTLY, P(pipeline=2)),
    "ep2": Case(PARTLY, P(data=2, expert=2)),
}
FOUR = {
    "pp4": Case(QWEN2, P(pipeline=4)),
    "tp2 pp2": Case(PARTLY, P(tensor=2, pipeline=2)),
    "tp2 ep2": Case(MIXTURE, P(tensor=2, data=2, expert=2)),
    "pp2 ep2": Case(PARTLY, P(pipeline=2, data=2, expert=2)),
    "tp4": Case(QWEN3, P(tensor=4)),
    "dp2 cp2 ep4": Case(MIXTURE, P(data=2, context=2, expert=4)),
}


def batch(case: Case) -> MicroBatch:
    context = case.parallel.context
    longest = max(case.lengths)
    dense = len(case.lengths) * longest // context
    return MicroBatch(sum(case.lengths) // context, dense, longest)


@pytest.mark.parametrize(
    ("workers", "cases"),
    [(1, ONE), pytest.param(2, TWO, marks=pytest.mark.slow),
     pytest.param(4, FOUR, marks=pytest.mark.slow)],
)  # fmt: skip
def test_the_arithmetic_is_what_is_measured(workers, cases):
    found = run_processes(workers, measure, ports(len(cases)), list(cases.values()))
    wrong = []
    for of_rank in found:
        for (name, case), real in zip(cases.items(), of_rank, strict=True):
            held = of_worker(case.model, case.parallel, real.stage)
            if (held.dense, held.experts) != (real.dense_parameters, real.expert_parameters):
                wrong.append(f"{name}, stage {real.stage}: {held} but {real}")
            if case.lengths:
                element = case.dtype.itemsize
                kept = activation_bytes(case.model, case.parallel, 0, batch(case), element)
                if not 0.98 * real.kept_bytes <= kept <= 1.02 * real.kept_bytes:
                    wrong.append(f"{name}: {kept} bytes but {real.kept_bytes}")
    assert wrong == []

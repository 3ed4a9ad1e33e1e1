"""What autograd keeps of a forward pass, and megatron's real parameters, in own processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from processes import free_port

from slime.config.schema import ParallelConfig
from slime.distributed import Rendezvous
from slime.distributed.groups import dissolve_groups, form_groups
from slime.distributed.rendezvous import meet, part
from slime.megatron import device_layer
from slime.megatron.attention import PackedSequences
from slime.megatron.model import LanguageModel, build_model
from slime.model.architecture import Architecture


@dataclass(frozen=True)
class Case:
    model: Architecture
    parallel: ParallelConfig
    dtype: torch.dtype = torch.float32
    lengths: tuple[int, ...] = ()  # of whole sequences; (): count parameters only


@dataclass(frozen=True)
class Measured:
    stage: int
    dense_parameters: int
    expert_parameters: int
    kept_bytes: int


def measure(rank: int, ports: Sequence[int], cases: Sequence[Case]) -> list[Measured]:
    device_layer.install()
    return [_measured(rank, port, case) for port, case in zip(ports, cases, strict=True)]


def ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def _measured(rank: int, port: int, case: Case) -> Measured:
    parallel = case.parallel
    device = meet(Rendezvous(rank, parallel.workers, "127.0.0.1", port))
    try:
        form_groups(parallel, seed=0)
        model = build_model(case.model, case.dtype, device, parallel)
        experts = sum(p.numel() for n, p in model.named_parameters() if ".local_experts." in n)
        held = sum(p.numel() for p in model.parameters())
        kept = _kept_bytes(model, parallel, case.lengths) if case.lengths else 0
        return Measured(rank * parallel.pipeline // parallel.workers, held - experts, experts, kept)
    finally:
        dissolve_groups()
        part()


def _kept_bytes(model: LanguageModel, parallel: ParallelConfig, lengths: Sequence[int]) -> int:
    """Of every tensor that the backward pass needs, each storage once, parameters left out."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}  # holding the tensors keeps their addresses apart

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    packed = PackedSequences.of(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32))
    tokens = torch.zeros(1, sum(lengths) // parallel.context, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(tokens, None, None, packed_seq_params=packed)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

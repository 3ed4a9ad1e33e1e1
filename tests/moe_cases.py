"""A tiny mixture of experts and the gradient of its load-balancing loss, in own processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.transformer.moe.router import TopKRouter
from tiny_models import VOCABULARY
from torch import Tensor
from train_samples import TEMPERATURE, train_samples

from slime.config.schema import Layout, LossConfig, ParallelConfig
from slime.data import TrainSample
from slime.data.packing import PackedBatch, build_padding, pack
from slime.distributed import Rendezvous
from slime.distributed.groups import (
    context_parallel,
    dissolve_groups,
    form_groups,
    step_parallel,
    tensor_parallel,
)
from slime.distributed.rendezvous import meet, part
from slime.loss import LossOutput, build_aggregation, build_auxiliary_aggregation, build_loss
from slime.megatron import device_layer
from slime.megatron.model import LanguageModel, build_model
from slime.megatron.passes import accumulate_gradients, build_forward
from slime.megatron.policy import Policy
from slime.model.architecture import Architecture
from slime.model.experts import Experts
from slime.plan import step_shape

EXPERTS, TOP, COEFFICIENT = 4, 2, 0.5
PARALLEL = ParallelConfig(data=2)
MICRO_BATCHES = ((2, 1), (1, 3, 2))  # samples of each, by rank

Gradient = dict[str, Tensor]
LossOf = Callable[[Tensor, PackedBatch], LossOutput]

_ARCHITECTURE = Architecture(
    family="qwen3_moe",
    layers=2,
    hidden_size=32,
    attention_heads=4,
    key_value_heads=2,
    head_size=8,
    feed_forward_size=48,
    vocabulary_size=VOCABULARY,
    max_positions=64,
    rope_theta=500.0,
    norm_epsilon=1e-5,
    tied_embeddings=False,
    qkv_bias=False,
    qk_norm=True,
    experts=Experts(EXPERTS, TOP, 24, normalised=False, dense_layers=()),
)


@dataclass(frozen=True)
class Measured:
    """Through the trainer's passes, with and without the auxiliary loss; and one micro-batch at a
    time, by autograd alone, added up as the definitions say.
    """

    with_auxiliary: Gradient
    without_auxiliary: Gradient
    auxiliary: Gradient
    main: Gradient


def gradients(rank: int, port: int, losses: Sequence[LossConfig]) -> list[Measured]:
    with _model(rank, port) as model:
        return [_measured(rank, model, loss) for loss in losses]


@contextmanager
def _model(rank: int, port: int) -> Iterator[LanguageModel]:
    device_layer.install()
    device = meet(Rendezvous(rank, PARALLEL.workers, "127.0.0.1", port))
    form_groups(PARALLEL, seed=0)
    model = build_model(_ARCHITECTURE, torch.float32, device, PARALLEL)
    _balance(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "norm" in name else 0.25 * noise)
    try:
        yield model
    finally:
        dissolve_groups()
        part()


def _balance(model: LanguageModel) -> None:
    """slime's own router has no load-balancing loss; megatron's has."""
    model.config.moe_router_load_balancing_type = "aux_loss"
    for module in model.modules():
        if isinstance(module, TopKRouter):
            module.routing = partial(TopKRouter.routing, module)
            module.routing_type = "aux_loss"


def _measured(rank: int, model: LanguageModel, loss: LossConfig) -> Measured:
    of_rank = _micro_batches(loss)
    loss_of = _loss_of(model, loss)
    with_auxiliary = _through_the_trainer(model, of_rank[rank], loss_of, COEFFICIENT)
    without_auxiliary = _through_the_trainer(model, of_rank[rank], loss_of, 0.0)
    auxiliary, main = _zeros(model), _zeros(model)
    for batches in of_rank:
        for batch in batches:
            with _router_logits(model) as logits:
                hidden_T1H = build_forward(Layout.thd)(model, batch)
            balance = torch.stack([_load_balancing_loss(layer_TE) for layer_TE in logits]).sum()
            # A mean over the ranks of the mean over each one's micro-batches.
            _add_gradient(auxiliary, model, balance / len(batches) / len(of_rank))
            _add_gradient(main, model, loss_of(hidden_T1H[:, 0], batch).loss)
    return Measured(with_auxiliary, without_auxiliary, auxiliary, main)


def _micro_batches(loss: LossConfig) -> list[list[PackedBatch]]:
    """Of every rank."""
    samples = _weighted(train_samples(sum(map(sum, MICRO_BATCHES))), loss)
    rest, padding = iter(samples), build_padding(PARALLEL)
    return [
        [pack([next(rest) for _ in range(size)], padding) for size in sizes]
        for sizes in MICRO_BATCHES
    ]


def _weighted(samples: Sequence[TrainSample], loss: LossConfig) -> list[TrainSample]:
    shape = step_shape([s.sample for s in samples])
    weights = build_aggregation(loss)(shape).tolist()
    auxiliary = build_auxiliary_aggregation(loss)(shape).tolist()
    return [
        replace(s, weight=w, auxiliary_weight=a)
        for s, w, a in zip(samples, weights, auxiliary, strict=True)
    ]


def _loss_of(model: LanguageModel, config: LossConfig) -> LossOf:
    loss, policy = build_loss(config), Policy(TEMPERATURE, tensor_parallel(), context_parallel())

    def loss_of(hidden_TH: Tensor, batch: PackedBatch) -> LossOutput:
        log_probs_R, entropy_R = policy.log_probs_and_entropy(
            model, hidden_TH, batch, entropy_gradient=loss.needs_entropy_gradient
        )
        return loss(policy.terms(log_probs_R, entropy_R, batch))

    return loss_of


def _through_the_trainer(
    model: LanguageModel, batches: Sequence[PackedBatch], loss_of: LossOf, coefficient: float
) -> Gradient:
    model.config.moe_aux_loss_coeff = coefficient
    model.config.finalize_model_grads_func = finalize_model_grads
    trained = DistributedDataParallel(
        model.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), model
    )
    trained.zero_grad_buffer()
    accumulate_gradients(trained, batches, build_forward(Layout.thd), loss_of, step_parallel().size)
    return {name: p.main_grad.clone() for name, p in model.named_parameters()}


@contextmanager
def _router_logits(model: LanguageModel) -> Iterator[list[Tensor]]:
    """Of each layer [T, experts], filled by what runs inside."""
    found: list[Tensor] = []

    def keep(router: TopKRouter, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0].flatten(0, 1) @ router.weight.T)

    routers = [module for module in model.modules() if isinstance(module, TopKRouter)]
    hooks = [router.register_forward_pre_hook(keep) for router in routers]
    yield found
    for hook in hooks:
        hook.remove()


def _load_balancing_loss(logits_TE: Tensor) -> Tensor:
    """coefficient * E * sum_i f_i P_i: Switch Transformer, arXiv:2101.03961 eq. 4."""
    probabilities_TE = logits_TE.softmax(-1)
    chosen = logits_TE.topk(TOP).indices.flatten().tolist()
    shares_E = torch.tensor([chosen.count(expert) / len(chosen) for expert in range(EXPERTS)])
    return COEFFICIENT * EXPERTS * (shares_E * probabilities_TE.mean(0)).sum()


def _zeros(model: LanguageModel) -> Gradient:
    return {name: torch.zeros_like(p) for name, p in model.named_parameters()}


def _add_gradient(total: Gradient, model: LanguageModel, loss: Tensor) -> None:
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(
        loss, list(named.values()), retain_graph=True, allow_unused=True
    )
    for name, gradient in zip(named, gradients, strict=True):
        if gradient is not None:
            total[name] += gradient

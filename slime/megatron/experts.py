"""Which experts a token goes to, and with what weight: as Qwen3-MoE defines it, in any dtype.

There is no load-balancing loss: as megatron computes it, it is a mean over micro-batches and ranks
with their padding, so its value would depend on the layout, as no other term of the loss does.
"""

from typing import Any

import torch
from megatron.core.models.gpt.moe_module_specs import get_moe_module_spec
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.moe.router import TopKRouter
from megatron.core.transformer.spec_utils import ModuleSpec
from torch import Tensor
from torch.nn.functional import linear

from slime.model.experts import Experts


class Router(TopKRouter):  # type: ignore[misc]  # megatron-core has no types
    """softmax over all experts in float32, the largest of them, made to sum to 1 if so configured.

    megatron's own formulas give the same up to rounding in float32; in bfloat16 they round before
    they choose, and a model whose tokens have one expert is refused.
    """

    def gating(self, input: Tensor) -> Tensor:
        """[..., hidden_size] -> [..., experts]"""
        return linear(input, self.weight)

    def routing(self, logits: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """-> the weight of every expert for every token [T, experts], and where it is used"""
        logits_TE = logits.view(-1, self.config.num_moe_experts)
        probabilities_TE = logits_TE.softmax(-1, dtype=torch.float32)
        weights_TK, chosen_TK = probabilities_TE.topk(self.topk, dim=-1)
        if self.config.experts_are_normalised:
            weights_TK = weights_TK / weights_TK.sum(-1, keepdim=True)
        weights_TE = torch.zeros_like(logits_TE).scatter(1, chosen_TK, weights_TK.to(logits.dtype))
        used_TE = torch.zeros_like(logits_TE, dtype=torch.bool).scatter(1, chosen_TK, True)
        return weights_TE, used_TE


def normalise_experts(config: TransformerConfig, experts: Experts) -> None:
    """Tell the routers whether the weights of a token's experts sum to 1."""
    config.experts_are_normalised = experts.normalised


def experts_spec(config: TransformerConfig, *, transformer_engine: bool) -> ModuleSpec:
    """One MLP after another: grouped products of experts need CUDA kernels."""
    spec = get_moe_module_spec(use_te=transformer_engine, num_experts=config.num_moe_experts)
    spec.submodules.router = Router
    return spec

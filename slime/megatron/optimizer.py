"""Megatron-core's optimizer and learning-rate schedule for one model."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig
from megatron.core.optimizer import get_megatron_optimizer, get_standard_config_overrides
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from torch import Tensor
from torch.distributed import all_reduce

from slime.config.schema import AdamConfig, OptimizerConfig
from slime.distributed.groups import Peers, everyone, expert_model_parallel

# Of a distributed optimizer's state in checkpoints: by whole parameters, which any layout can read.
_SHARDING = {"distrib_optim_sharding_type": "fully_reshardable"}


class Optimizer:
    """Takes steps with the gradients that `model` has accumulated and reduced."""

    def __init__(
        self,
        config: AdamConfig,
        model: DistributedDataParallel,
        dtype: torch.dtype,
        total_steps: int,
    ) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self.dtype = dtype
        self._clip_grad = config.clip_grad
        distributed = model.ddp_config.use_distributed_optimizer
        megatron_config = _megatron_config(config, dtype, distributed=distributed)
        # Norms and biases are not decayed.
        overrides = get_standard_config_overrides(megatron_config)
        self._optimizer = get_megatron_optimizer(megatron_config, [model], overrides)
        self._schedule = _schedule(config, self._optimizer, total_steps)
        # With expert parallelism megatron gives experts an optimizer of their own.
        parts = self._optimizer.chained_optimizers
        self._experts = [part for part in parts if _is_of_experts(part)]
        self._dense = [part for part in parts if not _is_of_experts(part)]
        self._expert_peers = _peers_of_experts(model, distributed=distributed)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def clear_gradients(self) -> None:
        self._model.zero_grad_buffer()
        self._optimizer.zero_grad()

    def gradient_norm(self) -> float:
        """Of all gradients as one vector, before clipping; nan or inf when one of them is.

        The same number on every rank.
        """
        self._optimizer.prepare_grads()
        # megatron adds the squares up in float32, which is 4e-5 off over 135M parameters.
        squares = self._squares(self._dense)
        all_reduce(squares, group=self._dense[0].get_grad_stats_parallel_group())
        if self._expert_peers is not None:
            of_experts = self._squares(self._experts)
            self._expert_peers.sum_(of_experts)
            squares += of_experts
        return math.sqrt(squares.item())

    def step(self, gradient_norm: float) -> None:
        """Clip, update the parameters and move the schedule on.  Needs gradient_norm() first."""
        if self._clip_grad > 0:
            for optimizer in (*self._dense, *self._experts):
                parameters = optimizer.get_parameters()
                clip_grad_by_total_norm_fp32(parameters, self._clip_grad, gradient_norm)
        self._optimizer.step_with_ready_grads()
        self._schedule.step(increment=1)

    def _squares(self, optimizers: Sequence[Any]) -> Tensor:
        """Of the gradients that count on this rank.  -> [] float64"""
        squares = torch.zeros((), dtype=torch.float64, device=self._device)
        for optimizer in optimizers:
            for gradient in optimizer.get_main_grads_for_grad_norm():
                squares += torch.linalg.vector_norm(gradient, dtype=torch.float64) ** 2
        return squares

    @property
    def steps(self) -> int:
        """That have been taken: with it, what the schedule knows is known."""
        return int(self._schedule.num_steps)

    def states(self, weights: dict[str, Any]) -> list[dict[str, Any]]:
        """What a checkpoint holds beside the model's own sharded state dict, `weights`."""
        self._allocate()
        return [one.sharded_state_dict(weights, metadata=_SHARDING) for one in self._parts()]

    def states_to_load(self, weights: dict[str, Any]) -> list[dict[str, Any]]:
        """The same with nothing in it yet; load_states() takes it with everything in it."""
        self._allocate()
        self._set_steps(1)  # 0 is no step to megatron, which would leave it out
        return [
            one.sharded_state_dict(weights, is_loading=True, metadata=_SHARDING)
            for one in self._parts()
        ]

    def load_states(self, states: list[dict[str, Any]], steps: int) -> None:
        """Go on from these states, after so many steps."""
        for one, state in zip(self._parts(), states, strict=True):
            parameter_state = state.pop("param_state", None)
            one.load_state_dict(state)
            for of_parameter in one.optimizer.state.values():
                of_parameter.pop("step", None)  # megatron would look for it in what was saved
            if parameter_state is not None:
                one.load_parameter_state_from_fully_reshardable(parameter_state)
        self._set_steps(steps)
        self._schedule.num_steps = 0
        self._schedule.step(increment=steps)

    def _set_steps(self, steps: int) -> None:
        """A tensor for each parameter: AdamW counts up in place, and megatron shares one."""
        for one in self._parts():
            for of_parameter in one.optimizer.state.values():
                of_parameter["step"] = torch.tensor(float(steps))

    def _allocate(self) -> None:
        """AdamW has no state before its first step, and megatron saves none without."""
        for one in self._parts():
            for group in one.optimizer.param_groups:
                for parameter in group["params"]:
                    if not one.optimizer.state[parameter]:
                        one.optimizer.state[parameter] = {
                            "step": torch.tensor(0.0),
                            "exp_avg": torch.zeros_like(parameter.data),
                            "exp_avg_sq": torch.zeros_like(parameter.data),
                        }

    def _parts(self) -> list[Any]:
        """The optimizers that megatron chains, one for each kind of parameter."""
        parts = getattr(self._optimizer, "chained_optimizers", [self._optimizer])
        return [one for one in parts if not one.is_stub_optimizer]


def _is_of_experts(optimizer: Any) -> bool:
    return any(group["is_expert_parallel"] for group in optimizer.param_groups)


def _peers_of_experts(model: DistributedDataParallel, *, distributed: bool) -> Peers | None:
    """Who adds up the squares of the experts' gradients; None: they are among the others.

    A pipeline stage without experts takes part too.
    """
    if model.config.expert_model_parallel_size == 1:
        return None
    return everyone() if distributed else expert_model_parallel()


def build_optimizer(
    config: OptimizerConfig,
    model: DistributedDataParallel,
    dtype: torch.dtype,
    total_steps: int,
) -> Optimizer:
    """dtype: of the parameters; float32 main copies are kept beside bfloat16 ones.

    total_steps: optimizer steps of the run; linear and cosine schedules end there.
    """
    match config:
        case AdamConfig():
            return Optimizer(config, model, dtype, total_steps)
        case _:
            raise TypeError(f"no optimizer is built from {type(config).__name__}")


def _megatron_config(
    config: AdamConfig, dtype: torch.dtype, *, distributed: bool
) -> MegatronOptimizerConfig:
    return MegatronOptimizerConfig(
        optimizer="adam",
        lr=config.learning_rate,
        min_lr=config.min_learning_rate,
        weight_decay=config.weight_decay,
        adam_beta1=config.beta1,
        adam_beta2=config.beta2,
        adam_eps=config.eps,
        clip_grad=config.clip_grad,
        bf16=dtype == torch.bfloat16,
        params_dtype=dtype,
        use_distributed_optimizer=distributed,
    )


def _schedule(config: AdamConfig, optimizer: object, total_steps: int) -> OptimizerParamScheduler:
    """Warm-up step k of W has (k + 1) / (W + 1) of the peak: the first step is never a no-op."""
    return OptimizerParamScheduler(
        optimizer,
        init_lr=config.learning_rate / (config.warmup_steps + 1),
        max_lr=config.learning_rate,
        min_lr=config.min_learning_rate,
        lr_warmup_steps=config.warmup_steps,
        # megatron refuses a warm-up that outlasts the run, although it is well defined.
        lr_decay_steps=max(total_steps, config.warmup_steps + 1),
        lr_decay_style=config.schedule.value,
        start_wd=config.weight_decay,
        end_wd=config.weight_decay,
        wd_incr_steps=0,
        wd_incr_style="constant",
    )

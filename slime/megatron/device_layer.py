"""A CPU in the place of CUDA, for megatron-core's modules and for nothing else.

megatron-core asks for "cuda" by name in some two hundred places.  Where there is no CUDA device,
install() gives its modules another `torch`: the same one, but "cuda" means the CPU.  With a CUDA
device it does nothing.

Only train workers install it, once, in a process of their own.  Replacing the functions of torch
itself would be shorter and is what must not happen: transformers loads models with the same
functions, and a model loaded that way has wrong rotary frequencies and says nothing.  So the layer
touches the global names of megatron's modules, and of torch itself just `Tensor.type` and
`Tensor.cuda`, whose answers change only for calls that come from megatron.
"""

import importlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import torch

from slime.megatron.uneven import gathering, scattering

_CPU = torch.device("cpu")

# Whatever is imported here, or by what is imported here, is seen by install().
_MODULES = (
    "megatron.core.dist_checkpointing",
    "megatron.core.distributed",
    "megatron.core.models.gpt.gpt_layer_specs",
    "megatron.core.models.gpt.gpt_model",
    "megatron.core.optimizer",
    "megatron.core.optimizer_param_scheduler",
    "megatron.core.pipeline_parallel",
)
_FACTORIES = ("empty", "ones", "tensor", "zeros")


class _StandIn(ModuleType):
    """A module that answers for `original` wherever it has no answer of its own."""

    def __init__(self, original: ModuleType, **answers: Any) -> None:
        super().__init__(original.__name__)
        self.__dict__.update(answers)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _NoStream:
    """Of a device that does its work before it returns: nothing is ever waited for."""

    def wait_stream(self, _: object) -> None:
        pass

    def record_event(self) -> "_NoStream":
        return self

    def synchronize(self) -> None:
        pass


_STREAM = _NoStream()


def _get_rng_state(*_: Any, **__: Any) -> torch.Tensor:
    return torch.get_rng_state()


def _set_rng_state(state: torch.Tensor, *_: Any, **__: Any) -> None:
    torch.set_rng_state(state)


_cuda = _StandIn(
    torch.cuda,
    current_device=lambda: _CPU,
    synchronize=lambda *_: None,
    Stream=lambda *_, **__: _STREAM,
    current_stream=lambda *_: _STREAM,
    stream=lambda *_: nullcontext(),
    manual_seed=torch.manual_seed,
    get_rng_state=_get_rng_state,
    random=_StandIn(torch.cuda.random, get_rng_state=_get_rng_state),
)


def is_installed() -> bool:
    parallel_state = sys.modules.get("megatron.core.parallel_state")
    return isinstance(vars(parallel_state).get("torch"), _StandIn) if parallel_state else False


def install() -> None:
    """Call before the first use of megatron-core in a process; again is harmless."""
    if torch.cuda.is_available() or is_installed():
        return
    for name in _MODULES:
        importlib.import_module(name)
    answers = {name: _on_cpu(getattr(torch, name)) for name in _FACTORIES}
    stand_in = _StandIn(torch, cuda=_cuda, **answers)
    for name, module in list(sys.modules.items()):
        if name.startswith("megatron.core") and vars(module).get("torch") is torch:
            vars(module)["torch"] = stand_in
    random = sys.modules["megatron.core.tensor_parallel.random"]
    vars(random)["_set_cuda_rng_state"] = _set_rng_state  # it goes past torch, to the CUDA driver
    dispatcher = sys.modules["megatron.core.transformer.moe.token_dispatcher"]
    vars(dispatcher)["maybe_move_tensor_to_cpu"] = _moved_to_cpu
    mappings = vars(sys.modules["megatron.core.tensor_parallel.mappings"])
    for name, uneven in (("_gather", gathering), ("_reduce_scatter", scattering)):
        mappings[f"{name}_along_first_dim"] = uneven(mappings[f"{name}_along_first_dim"])
    torch.Tensor.type = _type_as_on_cuda(torch.Tensor.type)  # type: ignore[method-assign]
    torch.Tensor.cuda = _stays_on_cpu(torch.Tensor.cuda)  # type: ignore[method-assign]


def _on_cpu(factory: Callable[..., Any]) -> Callable[..., Any]:
    def create(*args: Any, device: Any = None, **kwargs: Any) -> Any:
        kwargs.pop("pin_memory", None)  # such memory exists only beside a GPU
        if device is not None and str(device).startswith("cuda"):
            device = _CPU
        return factory(*args, device=device, **kwargs)

    return create


def _moved_to_cpu(value: Any, as_numpy: bool = False, **_: Any) -> Any:
    """megatron leaves alone what is on the CPU already, and then lacks the numpy array."""
    return value.numpy() if as_numpy and isinstance(value, torch.Tensor) else value


def _type_as_on_cuda(original: Callable[..., Any]) -> Callable[..., Any]:
    """megatron's optimizer tells parameters apart by strings such as 'torch.cuda.FloatTensor'."""

    def tensor_type(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        answer = original(self, *args, **kwargs)
        if isinstance(answer, str) and _called_by_megatron():
            return answer.replace("torch.", "torch.cuda.", 1)
        return answer

    return tensor_type


def _stays_on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    def cuda(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return self if _called_by_megatron() else original(self, *args, **kwargs)

    return cuda


def _called_by_megatron() -> bool:
    caller = sys._getframe(2).f_globals.get("__name__", "")
    return str(caller).startswith("megatron.core")

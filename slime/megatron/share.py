"""What a rank hands out of its model: of a step's ranks each tensor is handed out by one."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from slime.distributed.groups import expert_parallel, step_parallel, tensor_parallel
from slime.megatron.convert import Described, export, export_experts
from slime.megatron.model import LanguageModel
from slime.megatron.shard import Tensors, encode, write


class ExportedShare:
    """Every rank of a run makes the same calls: they make whole tensors together."""

    def __init__(self, model: LanguageModel, rank: int) -> None:
        """rank: of all of the run's."""
        self._model = model
        self._rank = rank
        self._step_parallel, self._expert_parallel = step_parallel(), expert_parallel()
        self._tensor_parallel = tensor_parallel()

    def in_memory(self, value_of: Callable[[Tensor], Tensor]) -> bytes:
        """As a safetensors file; b"" where another rank has the same.

        value_of: what of each parameter, of its shape: its value, its gradient.
        """
        found = self._handed_out(value_of)
        return encode(*found) if found is not None else b""

    def on_disk(self, folder: Path) -> str | None:
        """The values.  -> the name of the file; None where another rank has the same

        Raises OSError when the disk does not take it.
        """
        found = self._handed_out(Tensor.detach)
        if found is None:
            return None
        name = f"rank-{self._rank:05d}.safetensors"
        write(folder / name, *found)
        return name

    def _handed_out(
        self, value_of: Callable[[Tensor], Tensor]
    ) -> tuple[list[Described], Tensors] | None:
        """What this rank hands out; None where another one has the same."""
        if self._step_parallel.rank >= self._expert_parallel.size:
            return None
        # The first workers of a step hold every expert once between them, and the rest alike.
        chosen = export if self._step_parallel.rank == 0 else export_experts
        exported = chosen(self._model, value_of)
        described = exported.described()
        if self._tensor_parallel.rank == 0:
            return (described, exported.tensors()) if described else None
        for _ in exported.tensors():
            pass  # the first tensor-parallel rank is gathering
        return None

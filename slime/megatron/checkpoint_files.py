"""How megatron's checkpoints get to files and back: in the background, and without running code.

Megatron's own writer starts processes that outlive a killed train worker; this one is a function
for a thread.  Its reader unpickles whatever the folder says; this one knows the classes that the
format consists of and refuses all others.
"""

import pickle
from pathlib import Path
from typing import Any

from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest
from megatron.core.dist_checkpointing.strategies.common import TorchCommonLoadStrategy
from megatron.core.dist_checkpointing.strategies.state_dict_saver import (
    save_state_dict_async_finalize,
    save_state_dict_async_plan,
)
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreLoadPlanner,
    MCoreSavePlanner,
    TorchDistLoadShardedStrategy,
    TorchDistSaveShardedStrategy,
    _replace_sharded_keys_with_state_dict_keys,
    _replace_state_dict_keys_with_sharded_keys,
    _unwrap_pyt_sharded_tensor,
    mcore_to_pyt_state_dict,
)
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.state_dict_loader import load

_FORMAT = ("torch_dist", 1)


class Snapshot(FileSystemWriter):
    """One rank's part: a copy in memory first, then, whenever write() is called, a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, single_file_per_rank=True, sync_files=True, thread_count=1)

    def prepare_write_data(self, plan: SavePlan, planner: SavePlanner) -> None:
        """Called by megatron when it is known what this rank writes."""
        self._plan = plan
        self._copies = _Copies({item.index: _copy(planner, item) for item in plan.items})

    def write(self) -> None:
        """Raises OSError and RuntimeError from the file system."""
        self._results = self.write_data(self._plan, self._copies).wait()

    def retrieve_write_results(self) -> list[Any]:
        """Called by megatron after write()."""
        return self._results


class _Copies(DefaultSavePlanner):
    """In the place of a planner, for a writer that asks for what it is to write."""

    def __init__(self, copies: dict[Any, Tensor]) -> None:
        super().__init__()
        self._copies = copies

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        return self._copies.pop(write_item.index)


def _copy(planner: SavePlanner, item: WriteItem) -> Tensor:
    data = planner.resolve_data(item)
    if not isinstance(data, Tensor):
        raise TypeError(f"{item.index.fqn} is no tensor, and only tensors are saved")
    return data.detach().to("cpu", copy=True)


class WriteStrategy(TorchDistSaveShardedStrategy):  # type: ignore[misc]  # no types
    """Megatron's own, with a Snapshot for each rank."""

    def __init__(self) -> None:
        super().__init__(*_FORMAT)

    def async_save(self, sharded_state_dict: dict[str, Any], checkpoint_dir: Path) -> AsyncRequest:
        """Called by megatron; write() is for the caller, between this and the finalize_fns."""
        by_key, _, _ = _replace_state_dict_keys_with_sharded_keys(
            sharded_state_dict, keep_only_main_replica=True
        )
        self._snapshot = Snapshot(Path(checkpoint_dir))
        planned, *_ = save_state_dict_async_plan(
            mcore_to_pyt_state_dict(by_key),
            self._snapshot,
            planner=MCoreSavePlanner(
                dedup_replicated_tensors=False,
                flatten_state_dict=False,
                can_run_decentralized_global_plan=False,
            ),
        )
        return AsyncRequest(None, [], [lambda: save_state_dict_async_finalize(*planned)])

    def write(self) -> None:
        self._snapshot.write()


class ReadStrategy(TorchDistLoadShardedStrategy):  # type: ignore[misc]
    """Megatron's own, with a reader that runs nothing it finds."""

    def load(self, sharded_state_dict: dict[str, Any], checkpoint_dir: Path) -> dict[str, Any]:
        """Called by megatron.  Raises UnpicklingError for what is not of the format."""
        by_key, paths, names = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict)
        fixed = [tensor for tensors in by_key.values() for tensor in tensors]
        tensors = mcore_to_pyt_state_dict(by_key, is_loading=True)
        load(
            tensors,
            storage_reader=_Reader(checkpoint_dir),
            planner=MCoreLoadPlanner(
                shapes_validation_sharded_tensors=[t for t in fixed if not t.allow_shape_mismatch],
                allow_shape_mismatch_sharded_tensors={
                    t.key: t for t in fixed if t.allow_shape_mismatch
                },
            ),
        )
        unwrapped = {key: _unwrap_pyt_sharded_tensor(tensor) for key, tensor in tensors.items()}
        loaded: dict[str, Any] = _replace_sharded_keys_with_state_dict_keys(unwrapped, paths, names)
        return loaded


class NoCommonState(TorchCommonLoadStrategy):  # type: ignore[misc]
    """In the place of what unpickles common.pt: nothing that is needed stands there."""

    def load_common(self, checkpoint_dir: Path) -> dict[str, Any]:  # noqa: ARG002
        """Called by megatron."""
        return {}


class _Reader(FileSystemReader):
    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _Unpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"{self.path}/.metadata does not describe a checkpoint")
        for stored in (metadata.storage_data or {}).values():
            if Path(stored.relative_path).name != stored.relative_path:
                raise pickle.UnpicklingError(f"{stored.relative_path} is outside of {self.path}")
        return metadata


class _Unpickler(pickle.Unpickler):
    """Knows the classes of the format by name, and nothing that could do harm."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _KNOWN.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint")
        return super().find_class(module, name)


_KNOWN = {
    "pathlib": ("PosixPath",),
    "torch": ("Size", "bfloat16", "float32"),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.distributed.checkpoint.metadata": (
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.serialization": ("_get_layout",),  # a look-up
}

"""How megatron's checkpoints get to files and back: in the background, and without running code.

Megatron's own writer starts processes that outlive a killed train worker; this one is a function
for a thread.  What it writes is safetensors and JSON: of a checkpoint nothing is ever unpickled,
because whoever made it may be anybody.
"""

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
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    WriteItem,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from slime.megatron.checkpoint_index import (
    INDEX,
    StoredChunk,
    chunk_name,
    file_name,
    read_index,
    write_index,
)

_FORMAT = ("torch_dist", 1)


class Snapshot(FileSystemWriter):
    """One rank's part: a copy in memory first, then, whenever write() is called, a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def prepare_write_data(self, plan: SavePlan, planner: SavePlanner) -> None:
        """Called by megatron when it is known what this rank writes."""
        self._copies = {item.index: _copy(planner, item) for item in plan.items}

    def write(self) -> None:
        """Raises OSError and SafetensorError from the file system."""
        name = file_name(distributed.get_rank())
        copies, self._copies = self._copies, {}
        file = self._folder / name
        save_file({chunk_name(index): copy for index, copy in copies.items()}, file)
        file.chmod(self._folder.stat().st_mode & 0o666)  # as open() would, not for the owner only
        self._results = [WriteResult(index, copy.nbytes, name) for index, copy in copies.items()]

    def retrieve_write_results(self) -> list[WriteResult]:
        """Called by megatron after write()."""
        return self._results

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Called by megatron on one rank, with what all ranks have written."""
        write_index(self._folder, metadata, (one for rank in results for one in rank))


def _copy(planner: SavePlanner, item: WriteItem) -> Tensor:
    data = planner.resolve_data(item)
    if not isinstance(data, Tensor):
        raise TypeError(f"{item.index.fqn} is no tensor, and only tensors are saved")
    return data.detach().to("cpu", copy=True).contiguous()


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
        """Called by megatron.  Raises OSError, ValueError or SafetensorError for broken files."""
        by_key, paths, names = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict)
        fixed = [tensor for tensors in by_key.values() for tensor in tensors]
        tensors = mcore_to_pyt_state_dict(by_key, is_loading=True)
        load(
            tensors,
            storage_reader=_Reader(Path(checkpoint_dir)),
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
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder
        self._metadata = read_index(folder)  # here: torch would go on without, and tell a warning

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        return self._metadata

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """One file after the other, and no more of it than is asked for."""
        stored: dict[MetadataIndex, StoredChunk] = self._metadata.storage_data
        items: dict[str, list[ReadItem]] = {}
        for item in plan.items:
            items.setdefault(stored[item.storage_index].file, []).append(item)
        for name, wanted in items.items():
            with safe_open(self._folder / name, framework="pt") as file:
                for item in wanted:
                    target = planner.resolve_tensor(item).detach()
                    target.copy_(_part(file, item, stored[item.storage_index]))
                    planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done


def _part(file: Any, item: ReadItem, stored: StoredChunk) -> Tensor:
    name = chunk_name(item.storage_index)
    tensor: Tensor = file.get_tensor(name)
    if tensor.dtype != stored.dtype or tensor.shape != stored.sizes:
        raise ValueError(f"{name} is not what {INDEX} says")
    return narrow_tensor_by_index(tensor, item.storage_offsets, item.lengths)

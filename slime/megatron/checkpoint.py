"""A train worker's share of a checkpoint, through megatron-core's distributed checkpointing.

What is written is in terms of whole tensors, so any layout can read it: the model's parameters
under megatron's names, for each of them `optimizer.state.exp_avg.NAME` and `.exp_avg_sq.NAME`, and
beside bfloat16 parameters `optimizer.state.fp32_param.NAME`.  Numbers that are the same for all
parameters are in trainer.json, the random states of each rank in random-RANK.safetensors.
"""

import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.mapping import (
    LocalNonpersistentObject,
    ShardedTensor,
    ShardedTensorFactory,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.distributed.checkpoint.api import CheckpointException

from slime.config.schema import ConfigError
from slime.megatron.checkpoint_files import NoCommonState, ReadStrategy, WriteStrategy
from slime.megatron.model import LanguageModel
from slime.megatron.optimizer import Optimizer
from slime.megatron.random_states import random_states, set_random_states
from slime.reading import read_json

_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
    SafetensorError,
)
_NUMBERS, _RANDOM = "trainer.json", "random-{rank:05d}.safetensors"
_MAIN = "optimizer.state.param."  # megatron's distributed optimizer's name of its parameters
_MAIN_OF_BFLOAT16 = "optimizer.state.fp32_param."  # that of its other optimizers
_MOST_STEPS = 1 << 48

_FULL_BYTES = 1 << 20  # a disk with less room is full, to a writer of tensors

_Told = tuple[int | None, str]  # errno, reason
Tensors = dict[str, ShardedTensor | ShardedTensorFactory]


class Checkpoint:
    """One that is being written in the background.  Every rank makes the same calls."""

    def __init__(self, model: LanguageModel, optimizer: Optimizer, folder: Path) -> None:
        """Copies what is saved to memory; training may go on when this returns.

        Raises OSError when this rank cannot write at all.
        """
        weights = model.sharded_state_dict()
        states = optimizer.states(weights)
        tensors = _tensors(weights, "model") | _tensors(states, "optimizer")
        self._strategy = WriteStrategy()
        try:
            self._request = dist_checkpointing.save(
                _without_copies(tensors, optimizer.dtype),
                str(folder),
                sharded_strategy=self._strategy,
                async_sharded_save=True,
            )
        except (OSError, RuntimeError) as failure:
            raise OSError(*_told(failure, folder)) from failure
        self._random, self._steps = random_states(), optimizer.steps
        self._folder = folder
        self._random_file = folder / _RANDOM.format(rank=distributed.get_rank())
        self._failure: _Told | None = None
        self._thread = threading.Thread(target=self._write, name="checkpoint")
        self._thread.start()

    @property
    def is_written(self) -> bool:
        """Whether this rank would not have to wait in finish()."""
        return not self._thread.is_alive()

    def finish(self) -> Path:
        """Wait until all ranks have written.  -> the file that only this one has written

        Raises OSError, the same on every rank, when one of them could not.
        """
        self._thread.join()
        failures: list[_Told | None] = [None] * distributed.get_world_size()
        distributed.all_gather_object(failures, self._failure)
        for failure in failures:
            if failure is not None:
                raise OSError(*failure)
        for finalize in self._request.finalize_fns:
            finalize()
        return self._random_file

    def _write(self) -> None:
        try:
            self._strategy.write()
            self._write_numbers()
        except Exception as failure:
            self._failure = _told(failure, self._folder)

    def _write_numbers(self) -> None:
        """What is no tensor of the model, and small."""
        save_file(self._random, self._random_file)
        if distributed.get_rank() == 0:
            numbers = json.dumps({"optimizer_steps": self._steps})
            (self._folder / _NUMBERS).write_text(numbers + "\n", encoding="utf-8")


def load_checkpoint(model: LanguageModel, optimizer: Optimizer, folder: Path) -> None:
    """Weights, optimizer, schedule and random states, from what any layout has written.

    The random states are those of the same rank; one that there was not keeps its own.
    Raises ConfigError for a checkpoint of a model with other tensors.
    """
    try:
        _load_tensors(model, optimizer, folder)
    except (CheckpointException, CheckpointingException, *_UNREADABLE) as other:
        raise ConfigError(
            f"checkpoint.resume: {folder} is not of this model ({_reason(other)})"
        ) from other
    random_file = folder / _RANDOM.format(rank=distributed.get_rank())
    try:
        if random_file.is_file():
            set_random_states(load_file(random_file))
    except (SafetensorError, RuntimeError, *_UNREADABLE) as broken:
        raise ConfigError(
            f"checkpoint.resume: {random_file} holds no random states ({_reason(broken)})"
        ) from broken


def _reason(error: BaseException) -> str:
    if isinstance(error, CheckpointException):  # one for each rank that had any
        error, _ = next(iter(error.failures.values()))
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _load_tensors(model: LanguageModel, optimizer: Optimizer, folder: Path) -> None:
    weights = model.sharded_state_dict()
    _read(weights, _tensors(weights, "model"), folder)
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert all(name.endswith("_extra_state") for name in missing), missing

    states = optimizer.states_to_load(model.sharded_state_dict())
    _read(states, _under_common_names(_tensors(states, "optimizer"), optimizer.dtype), folder)
    optimizer.load_states(states, _steps(folder))


def _steps(folder: Path) -> int:
    steps = read_json(folder / _NUMBERS)["optimizer_steps"]
    if type(steps) is not int or not 0 <= steps <= _MOST_STEPS:
        raise ValueError(f"{_NUMBERS}: optimizer_steps is no count of steps")
    return steps


def _told(failure: Exception, folder: Path) -> _Told:
    """Why the disk did not take it: safetensors says it in words, torch's writer forgets it."""
    if isinstance(failure, OSError):
        return failure.errno, failure.strerror or str(failure)
    if (told := re.search(r"\(os error (\d+)\)", str(failure))) is not None:
        return int(told[1]), os.strerror(int(told[1]))
    if shutil.disk_usage(folder).free < _FULL_BYTES:
        return errno.ENOSPC, os.strerror(errno.ENOSPC)
    return None, str(failure)


def _read(tree: Any, wanted: Tensors, folder: Path) -> None:
    """Put the tensors that are `wanted` of a nested state dict into it."""
    found = dist_checkpointing.load(
        wanted,
        str(folder),
        sharded_strategy=ReadStrategy(),
        common_strategy=NoCommonState(),
    )
    for (path, holder, key), wanted_path in zip(list(_leaves(tree)), wanted, strict=True):
        assert wanted_path.endswith(path)
        holder[key] = found[wanted_path]
    for _, holder, key in list(_leaves(tree, LocalNonpersistentObject)):
        holder[key] = holder[key].unwrap()


def _tensors(tree: Any, name: str) -> Tensors:
    """The sharded tensors of a nested state dict, by the path to them."""
    return {f"{name}{path}": holder[key] for path, holder, key in _leaves(tree)}


def _leaves(
    tree: Any, kind: Any = ShardedTensor | ShardedTensorFactory, path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(path, what holds it, under which key) of every value of this kind."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        here = f"{path}/{key}"
        if isinstance(value, kind):
            yield here, tree, key
        elif isinstance(value, dict | list):
            yield from _leaves(value, kind, here)


def _without_copies(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """Where the model's own parameters are float32 the optimizer's are the same numbers."""
    named = _under_common_names(tensors, dtype)
    if dtype != torch.float32:
        return named
    return {path: named[path] for path, t in tensors.items() if not t.key.startswith(_MAIN)}


def _under_common_names(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """Megatron's optimizers call their float32 parameters differently."""
    prefix = "" if dtype == torch.float32 else _MAIN_OF_BFLOAT16
    return {
        path: replace(tensor, key=prefix + tensor.key.removeprefix(_MAIN))
        if tensor.key.startswith(_MAIN)
        else tensor
        for path, tensor in tensors.items()
    }

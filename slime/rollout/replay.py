"""An iteration's rollouts on disk and back, bit for bit.  docs/rollout-format.md has the format."""

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from slime.config.schema import ConfigError
from slime.data import Finish, Group, Prompt, Rollout, Sample

FORMAT, VERSION = "slime-rollouts", 1
INDEX, TENSORS = "rollouts.json", "samples.safetensors"

# Every tensor of an iteration, all samples one after the other, and its dtype.
_DTYPES = {
    "prompt_tokens": torch.int64,
    "response_tokens": torch.int64,
    "loss_mask": torch.bool,
    "rollout_log_probs": torch.float32,
}


def open_save_folder(folder: Path) -> None:
    """Make the folder of rollout.save.

    Raises ConfigError when it cannot be written, or holds the iterations of another run.
    """
    if _saved(folder):
        raise ConfigError(
            f"rollout.save: {folder} already holds saved iterations; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise ConfigError(f"rollout.save: cannot make {folder} ({failed.strerror})") from failed
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"rollout.save: {folder} cannot be written to; name another folder")


def save_iteration(folder: Path, iteration: int, groups: Sequence[Group]) -> None:
    """Write the groups of `iteration` into `folder`.

    Written aside and renamed: an iteration that can be seen is whole.  Raises ConfigError when it
    was saved before or cannot be written.
    """
    target = _folder_of(folder, iteration)
    if target.exists():
        raise ConfigError(f"rollout.save: {target} exists already; name another folder")
    index = {
        "format": FORMAT,
        "version": VERSION,
        "iteration": iteration,
        "groups": [_group_to_json(group) for group in groups],
    }
    text = json.dumps(index, indent=1, allow_nan=False)
    tensors = _tensors([s for g in groups for rollout in g.rollouts for s in rollout.samples])
    aside = folder / f".{target.name}.{os.getpid()}"
    try:
        aside.mkdir(parents=True)
        save_file(tensors, aside / TENSORS)
        (aside / INDEX).write_text(text, encoding="utf-8")
        aside.rename(target)
    except (OSError, SafetensorError) as failed:
        shutil.rmtree(aside, ignore_errors=True)
        raise ConfigError(f"rollout.save: cannot write {target} ({failed})") from failed


def count_iterations(folder: Path) -> int:
    """How many iterations, from 0 on, were saved in `folder`.

    Raises ConfigError when it is no such folder, or an iteration in between is missing.
    """
    if not folder.is_dir():
        raise ConfigError(f"rollout.engine.path: {folder} is not a folder")
    saved = _saved(folder)
    if not saved:
        raise ConfigError(
            f"rollout.engine.path: {folder} holds no saved iterations; write them with "
            f"rollout.save={folder}"
        )
    missing = sorted(set(range(max(saved))) - saved)
    if missing:
        raise ConfigError(f"rollout.engine.path: {folder} lacks iteration {missing[0]}")
    return len(saved)


def check_replay(folder: Path, iterations: int) -> None:
    """Raise ConfigError unless `folder` has that many iterations."""
    saved = count_iterations(folder)
    if saved < iterations:
        raise ConfigError(
            f"iterations={iterations}: {folder} (rollout.engine.path) has only {saved} saved "
            f"iterations; write iterations={saved} or less"
        )


def load_iteration(folder: Path, iteration: int) -> list[Group]:
    """The groups of `iteration` as they were saved.

    Raises ConfigError when it is missing, damaged, or of another version of the format.
    """
    source = _folder_of(folder, iteration)
    if not source.is_dir():
        check_replay(folder, iteration + 1)
    try:
        index = json.loads((source / INDEX).read_text(encoding="utf-8"))
        if (index["format"], index["version"]) != (FORMAT, VERSION):
            raise ConfigError(
                f"rollout.engine.path: {source} is {index['format']} version {index['version']}; "
                f"this slime reads {FORMAT} version {VERSION}: save it again"
            )
        tensors = load_file(source / TENSORS)
        if {name: t.dtype for name, t in tensors.items()} != _DTYPES:
            raise ValueError(f"{TENSORS} does not hold the tensors of the format")
        return _Reader(tensors).groups(index["groups"])
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as broken:
        reason = str(broken).splitlines()[0] if str(broken) else type(broken).__name__
        raise ConfigError(
            f"rollout.engine.path: {source} is damaged ({reason}); save it again"
        ) from broken


def _saved(folder: Path) -> set[int]:
    names = (re.fullmatch(r"iteration_(\d{5,})", path.name) for path in folder.glob("iteration_*"))
    return {int(name[1]) for name in names if name}


def _folder_of(folder: Path, iteration: int) -> Path:
    return folder / f"iteration_{iteration:05d}"


def _tensors(samples: Sequence[Sample]) -> dict[str, Tensor]:
    def joined(name: str, parts: list[Tensor]) -> Tensor:
        dtype = _DTYPES[name]
        if any(part.dtype != dtype for part in parts):
            raise TypeError(f"every sample's {name} must be {dtype}")
        return torch.cat([torch.zeros(0, dtype=dtype), *parts])

    return {
        "prompt_tokens": joined("prompt_tokens", [s.prompt_tokens_P for s in samples]),
        "response_tokens": joined("response_tokens", [s.response_tokens_R for s in samples]),
        "loss_mask": joined("loss_mask", [s.loss_mask_R for s in samples]),
        "rollout_log_probs": joined("rollout_log_probs", [s.rollout_log_probs_R for s in samples]),
    }


def _group_to_json(group: Group) -> dict[str, Any]:
    prompt = group.prompt
    return {
        "prompt": {"id": prompt.id, "text": prompt.text, "answer": prompt.answer},
        "rollouts": [
            {
                "id": rollout.id,
                "prompt_id": rollout.prompt_id,
                "text": rollout.text,
                "finish": rollout.finish.value,
                "reward": rollout.reward,
                "samples": [_sample_to_json(sample) for sample in rollout.samples],
            }
            for rollout in group.rollouts
        ],
    }


def _sample_to_json(sample: Sample) -> dict[str, Any]:
    return {
        "prompt_id": sample.prompt_id,
        "rollout_id": sample.rollout_id,
        "prompt_tokens": len(sample.prompt_tokens_P),
        "response_tokens": len(sample.response_tokens_R),
    }


class _Reader:
    """Takes the samples' tensors off the front, in the order in which they were written."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._rest = tensors

    def groups(self, values: list[dict[str, Any]]) -> list[Group]:
        groups = [
            Group(Prompt(**v["prompt"]), tuple(self._rollout(r) for r in v["rollouts"]))
            for v in values
        ]
        if any(len(rest) for rest in self._rest.values()):
            raise ValueError(f"{TENSORS} holds more tokens than {INDEX} counts")
        return groups

    def _rollout(self, values: dict[str, Any]) -> Rollout:
        return Rollout(
            id=values["id"],
            prompt_id=values["prompt_id"],
            samples=tuple(self._sample(sample) for sample in values["samples"]),
            text=values["text"],
            finish=Finish(values["finish"]),
            reward=values["reward"],
        )

    def _sample(self, values: dict[str, Any]) -> Sample:
        response_tokens = values["response_tokens"]
        return Sample(
            prompt_id=values["prompt_id"],
            rollout_id=values["rollout_id"],
            prompt_tokens_P=self._take("prompt_tokens", values["prompt_tokens"]),
            response_tokens_R=self._take("response_tokens", response_tokens),
            loss_mask_R=self._take("loss_mask", response_tokens),
            rollout_log_probs_R=self._take("rollout_log_probs", response_tokens),
        )

    def _take(self, name: str, count: int) -> Tensor:
        rest = self._rest[name]
        if len(rest) < count:
            raise ValueError(f"{TENSORS} holds fewer {name} than {INDEX} counts")
        self._rest[name] = rest[count:]
        return rest[:count].clone()

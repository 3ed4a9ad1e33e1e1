"""An iteration's rollouts on disk and back, bit for bit.  docs/rollout-format.md has the format."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from slime.config.schema import ConfigError
from slime.data import Finish, Group, Prompt, Rollout, Sample
from slime.reading import read_json
from slime.rollout.check import REPLAY_KEY, replay_problems, save_problems, saved_iterations
from slime.rollout.engine import Sampling

FORMAT, VERSION = "slime-rollouts", 1
INDEX, TENSORS = "rollouts.json", "samples.safetensors"
_OWNER = ".run"  # which run saves here, and may write its iterations again when it goes on

# Every tensor of an iteration, all samples one after the other, and its dtype.
_DTYPES = {
    "prompt_tokens": torch.int64,
    "response_tokens": torch.int64,
    "loss_mask": torch.bool,
    "rollout_log_probs": torch.float32,
}


@dataclass(frozen=True, slots=True, eq=False)
class SavedIteration:
    """An iteration's scored groups, and the distribution their rollout log-probs are under."""

    temperature: float
    top_p: float
    groups: tuple[Group, ...]


def open_save_folder(folder: Path, run_directory: Path) -> None:
    """Make the folder of rollout.save, for the run that has this directory.

    Raises ConfigError when it cannot be written, or holds the iterations of another run.
    """
    for problem in save_problems(folder):
        raise ConfigError(problem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _OWNER).write_text(f"{run_directory.absolute()}\n", encoding="utf-8")
    except OSError as failed:
        raise ConfigError(f"rollout.save: cannot make {folder} ({failed.strerror})") from failed


def reopen_save_folder(folder: Path, run_directory: Path, iteration: int) -> None:
    """For a run that goes on after so many iterations: what it had saved after them goes.

    Raises ConfigError when another run has saved there, or it cannot be written.
    """
    owner = folder / _OWNER
    if not owner.is_file() or owner.read_text(encoding="utf-8").strip() != str(
        run_directory.absolute()
    ):
        open_save_folder(folder, run_directory)
    for saved in saved_iterations(folder):
        if saved >= iteration:
            shutil.rmtree(_folder_of(folder, saved))


def save_iteration(
    folder: Path, sampling: Sampling, iteration: int, groups: Sequence[Group]
) -> None:
    """Write the groups of `iteration`, which `sampling` gave, into `folder`.

    Written aside and renamed: an iteration that can be seen is whole.  Raises ConfigError when it
    was saved before or cannot be written, ValueError for a rollout without samples.
    """
    target = _folder_of(folder, iteration)
    if target.exists():
        raise ConfigError(f"rollout.save: {target} exists already; name another folder")
    index = {
        "format": FORMAT,
        "version": VERSION,
        "iteration": iteration,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
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


def load_iteration(folder: Path, iteration: int) -> list[Group]:
    """The groups of `iteration` as they were saved; see read_iteration for what is raised."""
    return list(read_iteration(folder, iteration).groups)


def read_iteration(folder: Path, iteration: int, key: str = REPLAY_KEY) -> SavedIteration:
    """`iteration` as it was saved.  key: the one that names the folder, for errors.

    Raises ConfigError when it is missing, damaged, of another version of the format, or has a
    rollout without samples.
    """
    source = _folder_of(folder, iteration)
    if not source.is_dir():
        for problem in replay_problems(folder, iteration + 1):
            raise ConfigError(problem)
    try:
        index = read_json(source / INDEX)
        if (index["format"], index["version"]) != (FORMAT, VERSION):
            raise ConfigError(
                f"{key}: {source} is {index['format']} version {index['version']}; "
                f"this slime reads {FORMAT} version {VERSION}: save it again"
            )
        tensors = load_file(source / TENSORS)
        if {name: t.dtype for name, t in tensors.items()} != _DTYPES:
            raise ValueError(f"{TENSORS} does not hold the tensors of the format")
        return SavedIteration(
            temperature=float(index["temperature"]),
            top_p=float(index["top_p"]),
            groups=tuple(_Reader(tensors).groups(index["groups"])),
        )
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as broken:
        raise ConfigError(
            f"{key}: {source} is damaged ({_reason(broken)}); save it again"
        ) from broken


def _reason(broken: Exception) -> str:
    if isinstance(broken, KeyError):
        return f"{broken} is missing"
    return str(broken).splitlines()[0] if str(broken) else type(broken).__name__


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
    for rollout in group.rollouts:
        _check_samples(rollout)
    return {
        "prompt": {"id": prompt.id, "text": prompt.text, "answer": prompt.answer},
        "rollouts": [
            {
                "id": rollout.id,
                "prompt_id": rollout.prompt_id,
                "text": rollout.text,
                "finish": rollout.finish.value,
                "reward": rollout.reward,
                "shaping": rollout.shaping,
                "samples": [_sample_to_json(sample) for sample in rollout.samples],
            }
            for rollout in group.rollouts
        ],
    }


def _check_samples(rollout: Rollout) -> None:
    """Losses count the rollouts that their samples name: one that none names would be missed."""
    if not rollout.samples:
        raise ValueError(f"rollout {rollout.id} has no samples")
    for sample in rollout.samples:
        if sample.rollout_id != rollout.id:
            raise ValueError(f"rollout {rollout.id} has a sample of rollout {sample.rollout_id}")


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
        rollout = Rollout(
            id=values["id"],
            prompt_id=values["prompt_id"],
            samples=tuple(self._sample(sample) for sample in values["samples"]),
            text=values["text"],
            finish=Finish(values["finish"]),
            reward=values["reward"],
            shaping=values.get("shaping", 0.0),  # what came before 0.2 has none
        )
        _check_samples(rollout)
        return rollout

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
        if type(count) is not int or count < 0:
            raise ValueError(f"{INDEX} counts {count!r:.30} {name}")
        if len(rest) < count:
            raise ValueError(f"{TENSORS} holds fewer {name} than {INDEX} counts")
        self._rest[name] = rest[count:]
        return rest[:count].clone()

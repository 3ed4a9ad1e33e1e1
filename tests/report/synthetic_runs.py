"""Run directories written from a known law, as slime/tracking writes them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

VERSIONS = {"torch": "2.13.0", "ray": "2.60.0"}


@dataclass(frozen=True)
class SyntheticRun:
    """A run whose reward follows R(i) = 0.1 + (top - 0.1) / (1 + (8 / i)^2) over its iterations."""

    seed: int = 0
    values: dict[str, Any] = field(default_factory=dict)  # a.b.c -> value, over the defaults
    top: float = 0.7
    iterations: int = 24
    stops_after: int | None = None
    commit: str = "c" * 40
    choices: dict[str, str] = field(default_factory=dict)
    keeps_answers: bool = True
    lacks: tuple[str, ...] = ()  # keys of metrics.jsonl that an older version did not have
    prompts: int = 60
    interval: int = 6

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "resolved.yaml").write_text(yaml.safe_dump(self._resolved()))
        (folder / "run.json").write_text(json.dumps(self._record()))
        metrics, answers = self._lines()
        _write_lines(folder / "metrics.jsonl", metrics)
        if self.keeps_answers:
            _write_lines(folder / "evaluations.jsonl", answers)
        return folder

    def reward(self, iteration: int) -> float:
        return 0.1 + (self.top - 0.1) * (iteration**2 / (iteration**2 + 64))

    def _resolved(self) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "command": "train",
            "recipe": None,
            "seed": self.seed,
            "iterations": self.iterations,
            "task": {"name": "arithmetic", "max_term": 49},
            "reward": {"name": "first_number"},
            "evaluation": {"prompts": self.prompts, "interval": self.interval},
            "loss": {"aggregation": "sample_mean"},
            "parallel": {"data": 1},
        }
        for path, value in self.values.items():
            *nodes, name = path.split(".")
            node = tree
            for part in nodes:
                node = node.setdefault(part, {})
            node[name] = value
        return tree

    def _record(self) -> dict[str, Any]:
        return {
            "fingerprint": "0123456789ab",
            "choices": self.choices,
            "commit": self.commit,
            "dirty": False,
            "versions": VERSIONS,
            "python": "3.11.7",
            "time": "2026-11-22T18:22:34+00:00",
        }

    def _lines(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        random = np.random.default_rng(self.seed)
        last = self.iterations if self.stops_after is None else self.stops_after
        metrics, answers = self._evaluation(0, random)
        for iteration in range(last):
            metrics.append(self._step(iteration, random))
            trained = iteration + 1
            if trained % self.interval == 0 or trained == self.iterations:
                evaluation, given = self._evaluation(trained, random)
                metrics += evaluation
                answers += given
        return metrics, answers

    def _evaluation(
        self, iteration: int, random: np.random.Generator
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        hard = np.random.default_rng(99).random(self.prompts)  # the same questions in every run
        rewards = 0.7 * hard + 0.3 * random.random(self.prompts) < self.reward(iteration)
        record = {
            "iteration": iteration,
            "evaluation/reward_mean": float(rewards.mean()),
            "evaluation/response_tokens_mean": 4.0,
            "evaluation/prompts": self.prompts,
        }
        answers = [
            {
                "iteration": iteration,
                "prompt_id": prompt,
                "reward": float(r),
                "response_tokens": 4,
            }
            for prompt, r in enumerate(rewards)
        ]
        return [record], answers

    def _step(self, iteration: int, random: np.random.Generator) -> dict[str, Any]:
        record = {
            "iteration": iteration,
            "step": iteration,
            "train/loss": 0.1,
            "train/entropy": 2 * 0.95**iteration,
            "train/grad_norm": None if iteration == 3 else 1 + random.random(),
            "train/kl": 0.0,
            "train/clip_fraction_high": 0.02 * random.random(),
            "train/skipped": False,
            "rollout/reward_mean": self.reward(iteration) + 0.02 * random.normal(),
            "rollout/response_tokens_mean": 50 + iteration,
            "rollout/rollouts": 64,
            "time/generate_s": 3.0,
            "time/reward_s": 0.5,
            "time/train_s": 5.0,
            "time/push_s": 1.0,
            "time/iteration_s": 10.0,
            "time/response_tokens_per_s": 320.0,
        }
        return {key: value for key, value in record.items() if key not in self.lacks}


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))

"""Where an iteration's scored groups come from: generated now, or saved by an earlier run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slime.config.schema import RolloutConfig
from slime.data import Group, Prompt
from slime.model.tokenizer import Tokenizer
from slime.reward import ScoredGroups, Scorer
from slime.rollout.engine import Engine, Sampling
from slime.rollout.generate import Evaluation, evaluate, generate
from slime.rollout.replay import load_iteration
from slime.task import Task


class RolloutSource(Protocol):
    """What the loop asks for, iteration after iteration."""

    def generate(self, iteration: int) -> list[Group]:
        """The iteration's groups."""
        ...

    def score(self, iteration: int, groups: Sequence[Group]) -> ScoredGroups:
        """The same groups with a reward on every rollout."""
        ...

    def evaluate(self) -> Evaluation | None:
        """Greedy answers to held-out prompts; None where there is nobody or nothing to ask."""
        ...

    def load_weights(self, shards: Sequence[Any]) -> None:
        """Generate with these weights from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """Rollouts of the task's prompts, from an engine."""

    engine: Engine
    task: Task
    tokenizer: Tokenizer
    sampling: Sampling
    scorer: Scorer
    config: RolloutConfig
    seed: int
    held_out: tuple[Prompt, ...]
    keep: Callable[[int, Sequence[Group]], None]  # what becomes of an iteration's scored groups

    def generate(self, iteration: int) -> list[Group]:
        prompts = self.task.prompts(iteration, self.config.prompts_per_iteration)
        return generate(
            self.engine, prompts, self.tokenizer, self.config, self.sampling, self.seed, iteration
        )

    def score(self, iteration: int, groups: Sequence[Group]) -> ScoredGroups:
        scored = self.scorer.score(groups)
        self.keep(iteration, scored.groups)
        return scored

    def evaluate(self) -> Evaluation | None:
        if not self.held_out:
            return None
        return evaluate(
            self.engine, self.held_out, self.tokenizer, self.config, self.sampling, self.scorer
        )

    def load_weights(self, shards: Sequence[Any]) -> None:
        self.engine.load_weights(shards)


@dataclass(frozen=True, slots=True)
class Replayed:
    """Rollouts that rollout.save kept, rewards and all.  There is no engine."""

    folder: Path

    def generate(self, iteration: int) -> list[Group]:
        return load_iteration(self.folder, iteration)

    def score(self, iteration: int, groups: Sequence[Group]) -> ScoredGroups:  # noqa: ARG002
        """They were scored before they were saved."""
        return ScoredGroups(tuple(groups), ())

    def evaluate(self) -> Evaluation | None:
        return None

    def load_weights(self, shards: Sequence[Any]) -> None:
        """Nobody generates."""


def drop(iteration: int, groups: Sequence[Group]) -> None:
    """What becomes of the groups when rollout.save is not set."""

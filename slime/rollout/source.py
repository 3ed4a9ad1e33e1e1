"""Where an iteration's scored groups come from: generated now, or saved by an earlier run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from slime.config.schema import RolloutConfig
from slime.data import Group
from slime.model.tokenizer import Tokenizer
from slime.reward import ScoredGroups, Scorer
from slime.rollout.engine import Engine
from slime.rollout.generate import Evaluation, evaluate, generate
from slime.rollout.replay import load_iteration, save_iteration
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
        """Held-out greedy answers under the current weights; None where there is nothing to ask."""
        ...

    def load_weights(self, shards: Sequence[Any]) -> None:
        """Generate with these weights from now on."""
        ...

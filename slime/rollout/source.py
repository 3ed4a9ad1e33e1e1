"""Where an iteration's scored groups come from: generated now, or saved by an earlier run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from slime.data import Group
from slime.reward import Scorer
from slime.reward.overlong import Shaping
from slime.rollout.draws import Draws
from slime.rollout.engine import Engine
from slime.rollout.generate import Evaluation
from slime.rollout.replay import load_iteration
from slime.rollout.selection import Round, Select, Selection

# Told what is going on.
Phase = Callable[[str], None]


class RolloutSource(Protocol):
    """What the loop asks for, iteration after iteration."""

    def collect(self, iteration: int, phase: Phase) -> Selection:
        """The iteration's groups, with a reward on every rollout."""
        ...

    def evaluate(self) -> Evaluation | None:
        """Greedy answers to held-out prompts; None where there is nobody or nothing to ask."""
        ...

    def load_weights(self, shards: Sequence[Any]) -> None:
        """Generate with these weights from now on."""
        ...

    def drawn(self) -> int:
        """How often prompts were drawn: where the source stands, beside the iteration."""
        ...

    def go_on(self, drawn: int) -> None:
        """Stand where a source stood that had drawn so often."""
        ...


@dataclass(frozen=True, slots=True)
class Drawn(RolloutSource):
    """Rollouts of the task's prompts, drawn and scored as the run goes."""

    draws: Draws
    select: Select
    scorer: Scorer
    shaping: Shaping
    keep: Callable[[int, Sequence[Group]], None]  # what becomes of an iteration's trained groups
    engine: Engine
    examine: Callable[[], Evaluation | None]

    def collect(self, iteration: int, phase: Phase) -> Selection:
        selection = self.select(lambda: self._round(iteration, phase))
        self.keep(iteration, selection.trained)
        return selection

    def _round(self, iteration: int, phase: Phase) -> Round:
        phase("generating")
        start = time.perf_counter()
        groups = self.draws(iteration)
        generated = time.perf_counter()
        phase("scoring")
        scored = self.scorer.score(groups)
        shaped = tuple(_shaped(group, self.shaping) for group in scored.groups)
        end = time.perf_counter()
        return Round(shaped, scored.failures, generated - start, end - generated)

    def evaluate(self) -> Evaluation | None:
        return self.examine()

    def load_weights(self, shards: Sequence[Any]) -> None:
        self.engine.load_weights(shards)

    def drawn(self) -> int:
        return self.draws.drawn

    def go_on(self, drawn: int) -> None:
        self.draws.drawn = drawn


def _shaped(group: Group, shaping: Shaping) -> Group:
    rollouts = (replace(rollout, shaping=shaping(rollout)) for rollout in group.rollouts)
    return replace(group, rollouts=tuple(rollouts))


@dataclass(frozen=True, slots=True)
class Replayed(RolloutSource):
    """Rollouts that rollout.save kept, rewards and all.  There is no engine."""

    folder: Path

    def collect(self, iteration: int, phase: Phase) -> Selection:
        """All of them: they were selected before they were saved."""
        phase("reading rollouts")
        start = time.perf_counter()
        groups = tuple(load_iteration(self.folder, iteration))
        return Selection((Round(groups, (), time.perf_counter() - start, 0.0),), groups)

    def evaluate(self) -> Evaluation | None:
        return None

    def load_weights(self, shards: Sequence[Any]) -> None:
        """Nobody generates."""

    def drawn(self) -> int:
        return 0

    def go_on(self, drawn: int) -> None:
        """The number of an iteration says it all."""


def drop(iteration: int, groups: Sequence[Group]) -> None:
    """What becomes of the groups when rollout.save is not set."""

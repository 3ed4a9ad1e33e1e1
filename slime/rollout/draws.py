"""Where the next prompts of a run get their rollouts: sampled by an engine, or demonstrated."""

from typing import Protocol

from slime.config.schema import RolloutConfig
from slime.data import Group
from slime.model.tokenizer import Tokenizer
from slime.rollout.demonstrations import Demonstrator
from slime.rollout.engine import Engine, Sampling
from slime.rollout.generate import generate
from slime.rollout.selection import prompts_per_draw
from slime.task import Task


class Draws(Protocol):
    """The groups of the next prompts, draw after draw; an iteration may take several.

    drawn: how many draws came before the next one.  Each is drawn anew from the seed and its
    number, so this is all there is to know of a run that goes on.
    """

    drawn: int

    def __call__(self, iteration: int) -> list[Group]:
        """The next groups, without rewards.  Prompt ids are unique in a run."""
        ...


class SampledDraws(Draws):
    """Rollouts of the task's next prompts, from an engine."""

    def __init__(
        self,
        engine: Engine,
        task: Task,
        tokenizer: Tokenizer,
        sampling: Sampling,
        config: RolloutConfig,
        seed: int,
    ) -> None:
        self._engine = engine
        self._task = task
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._config = config
        self._seed = seed
        self.drawn = 0

    def __call__(self, iteration: int) -> list[Group]:
        prompts = self._task.prompts(self.drawn, prompts_per_draw(self._config))
        self.drawn += 1
        return generate(
            self._engine,
            prompts,
            self._tokenizer,
            self._config,
            self._sampling,
            self._seed,
            iteration,
        )


class DemonstratedDraws(Draws):
    """The task's own answers to its next prompts."""

    def __init__(self, demonstrator: Demonstrator, task: Task, config: RolloutConfig) -> None:
        self._demonstrator = demonstrator
        self._task = task
        self._config = config
        self.drawn = 0

    def __call__(self, iteration: int) -> list[Group]:  # noqa: ARG002 - nothing is sampled
        demonstrations = self._task.demonstrations(self.drawn, prompts_per_draw(self._config))
        self.drawn += 1
        return [self._demonstrator.group(each) for each in demonstrations]

"""One run, as it was asked for and as it went."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slime.report.values import SEED, Value


@dataclass(frozen=True, slots=True)
class Origin:
    """How a run was asked for, and the code it was made with; None where run.json does not say."""

    choices: Mapping[str, str | None]  # config group -> what was chosen
    fingerprint: str | None
    commit: str | None
    dirty: bool | None
    versions: Mapping[str, str]
    time: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    steps: a row per iteration (index): `train/` averaged over its steps, `rollout/` and `time/`.
    evaluations: a row per evaluation, by iterations trained (index).
    answers: iteration, prompt_id, reward of each held-out answer.
    """

    name: str
    directory: Path
    values: Mapping[str, Value]
    origin: Origin
    steps: pd.DataFrame
    evaluations: pd.DataFrame
    answers: pd.DataFrame
    exit_code: int | None  # of ended.json; None without one

    @property
    def seed(self) -> Value:
        return self.values.get(SEED)

    @property
    def recipe(self) -> str | None:
        recipe = self.values.get("recipe")
        return None if recipe is None else str(recipe)

    @property
    def iterations_trained(self) -> int:
        return int(self.steps.index[-1]) + 1 if len(self.steps) else 0

    @property
    def is_finished(self) -> bool:
        """Trained to the end, and evaluated there if it was to be evaluated at all."""
        planned = self.values.get("iterations")
        if not isinstance(planned, int) or self.iterations_trained < planned:
            return False
        return planned in self.evaluations.index or self.values.get("evaluation.prompts") == 0

    @property
    def state(self) -> str:
        """finished, or how far it came."""
        if self.is_finished:
            return "finished"
        if self.iterations_trained == self.values.get("iterations"):
            return "all iterations, no final evaluation"
        code = "" if self.exit_code is None else f", exit code {self.exit_code}"
        return f"{self.iterations_trained} of {self.values.get('iterations')} iterations{code}"

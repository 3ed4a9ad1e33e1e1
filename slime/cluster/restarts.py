"""How often workers of a run had to be started again."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Restarts:
    """Since the run began, those of earlier launches that it went on from included."""

    engine: int
    trainer: int
    warn: Callable[[str], None]

    def engine_lost(self, reason: str) -> None:
        self.engine += 1
        self.warn(f"the rollout engine is lost and is started again ({reason})")

    def trainer_lost(self, reason: str, left: int) -> None:
        """left: how often it may still be started again."""
        if left == 0:
            self.warn(
                f"stopping: workers are lost ({reason}), and cluster.max_restarts allows no more "
                "restarts; the same command goes on from the newest checkpoint"
            )
            return
        self.trainer += 1
        self.warn(f"workers are lost, the run goes back to its newest checkpoint ({reason})")

    def summary(self) -> str:
        """For the end of a run."""
        return (
            f"restarts: {self.engine} of the rollout engine, {self.trainer} back to a checkpoint "
            "after lost workers"
        )

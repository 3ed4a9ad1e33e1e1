"""When the trainer is compared with transformers: as it starts, and with a checkpoint's weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slime.cluster.trainer import Trainer
from slime.config.schema import ModelConfig, Precision
from slime.model.verify import is_verified, logits_of_transformers, verify, verify_checkpoint
from slime.rollout.source import Drawn, RolloutSource


@dataclass(frozen=True, slots=True)
class Verifier:
    """Compares, and says so to `phase`; each method raises ConfigError when the two differ."""

    folder: Path
    weights: Precision
    trainer: Trainer
    source: RolloutSource
    phase: Callable[[str], None]

    def start(self) -> None:
        """With the engine, which has the folder's weights still, or a process of its own."""
        self.phase("comparing logits with transformers")
        precision = self.trainer.logits_precision()
        reference = logits_of_transformers(self.folder, self.weights, precision)
        if isinstance(self.source, Drawn):
            reference = partial(self.source.engine.logits, precision=precision)
        verify(self.folder, self.trainer.logits, reference, precision)

    def checkpoint(self, checkpoint: Path) -> None:
        """With the engine, which has been given the trainer's weights; without one nothing has."""
        if not isinstance(self.source, Drawn):
            return
        self.phase("comparing logits with transformers")
        precision = self.trainer.logits_precision()
        engine = partial(self.source.engine.logits, precision=precision)
        verify_checkpoint(checkpoint, self.folder, self.trainer.logits, engine, precision)


def build_verifier(
    config: ModelConfig,
    weights: Precision,
    folder: Path,
    trainer: Trainer,
    source: RolloutSource,
    phase: Callable[[str], None],
) -> Verifier | None:
    """weights: the precision of the trainer's.  None: the model is not to be verified."""
    if not is_verified(config, folder):
        return None
    return Verifier(folder, weights, trainer, source, phase)

"""The layouts that are tested, and train workers in any of them, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from layouts import workers
from layouts.crew import Crew
from layouts.problems import MODES, TEMPERATURE
from processes import free_port
from torch import Tensor

from slime.config.schema import AdamConfig, Layout, LossConfig, ParallelConfig, Precision
from slime.data import TrainSample
from slime.data.metrics import StepMetrics
from slime.data.sharing import build_sharing
from slime.megatron.spec import TrainWorkerSpec

# eps is large, so that the first step is proportional to the gradient: Adam hides its scale.
ADAM = AdamConfig(learning_rate=1e-2, eps=0.1, weight_decay=0.1, clip_grad=0.2)


def parallel(**keys: Any) -> ParallelConfig:
    return ParallelConfig(
        **{"max_tokens_per_microbatch": 64, "precision": Precision.float32, **keys}
    )


PAIRS = {
    "dp2": parallel(data=2),
    "cp2": parallel(context=2),
    "tp2_sequence": parallel(tensor=2),
    "pp2": parallel(pipeline=2),
    "bshd_cp2": parallel(layout=Layout.bshd, context=2),
}
OTHERS = {
    "one": parallel(),
    "bshd": parallel(layout=Layout.bshd),
    "tp2": parallel(tensor=2, sequence=False),
    "dp2_cp2": parallel(data=2, context=2),
    "cp2_pp2": parallel(context=2, pipeline=2),
    "tp2_cp2": parallel(tensor=2, context=2),
    "dp2_pp2_bshd": parallel(data=2, pipeline=2, layout=Layout.bshd),
    "tp2_pp2": parallel(tensor=2, pipeline=2),
}
DISTRIBUTED = {
    f"{name}_distributed": parallel(distributed_optimizer=True, **keys)
    for name, keys in {
        "dp2": {"data": 2},
        "cp2": {"context": 2},
        "tp2_sequence": {"tensor": 2},
        "pp2": {"pipeline": 2},
        "dp2_cp2": {"data": 2, "context": 2},
        "cp2_pp2": {"context": 2, "pipeline": 2},
    }.items()
}
LAYOUTS = {**PAIRS, **OTHERS, **DISTRIBUTED}


@dataclass(frozen=True)
class Outcome:
    """What all workers together say of a step."""

    metrics: StepMetrics
    tensors: dict[str, Tensor]  # the gradient, or the weights after a step


class Trainers:
    """A crew, and the train workers that are open in it."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._open: tuple[Path, ParallelConfig] | None = None

    def gradient(
        self, folder: Path, config: ParallelConfig, loss: LossConfig, shares: workers.Shares
    ) -> Outcome:
        self._enter(folder, config)
        answers = self._call(workers.gradient, loss, shares)
        return _together([(a.metrics, a.shards) for a in answers])

    def log_probs(
        self, folder: Path, config: ParallelConfig, shares: workers.Shares
    ) -> list[list[tuple[TrainSample, Tensor]]]:
        """Of each worker that has any."""
        self._enter(folder, config)
        return [answer for answer in self._call(workers.log_probs, shares) if answer]

    def step(
        self, folder: Path, config: ParallelConfig, loss: LossConfig, shares: workers.Shares
    ) -> Outcome:
        """By fresh workers, and their weights afterwards."""
        self._open = None
        self._enter(folder, config)
        self._open = None
        answers = self._call(workers.train, loss, shares)
        return _together([(metrics, (shard,)) for metrics, shard in answers])

    def _enter(self, folder: Path, config: ParallelConfig) -> None:
        if self._open == (folder, config):
            return
        self._open = None
        # A loss with a KL term, so that the workers keep what such a loss needs.
        spec = TrainWorkerSpec(
            str(folder), MODES["sample_mean"], ADAM, config, TEMPERATURE, total_steps=10, seed=0
        )
        self._crew(workers.open_worker, spec, free_port())
        self._open = folder, config

    def _call(self, function: Any, *arguments: Any) -> list[Any]:
        try:
            return [a for a in self._crew(function, *arguments) if a is not None]
        except BaseException:
            self._open = None
            raise


def _together(answers: Sequence[tuple[StepMetrics, Sequence[bytes]]]) -> Outcome:
    metrics, tensors = answers[0][0], {}
    for others, shards in answers:
        assert others == metrics, "every worker reports the same"
        for shard in shards:
            if shard:
                part = safetensors.torch.load(shard)
                assert not part.keys() & tensors.keys(), "a parameter comes from two workers"
                tensors.update(part)
    return Outcome(metrics, tensors)


def shares_of(samples: Sequence[TrainSample], config: ParallelConfig) -> workers.Shares:
    """As the trainer divides them."""
    return build_sharing(config)(samples)

"""Rollouts -> optimizer steps: advantages, step weights, and who needs a forward pass.

This is the one place where a loss is normalised.  A step's weights are computed here, once, from
the whole step, before anything is split over ranks and micro-batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slime.advantage import Advantages, build_advantage
from slime.config.schema import AdvantageConfig, LossConfig, ReferenceKLConfig
from slime.data import Group, Sample, Step, StepShape, TrainSample
from slime.loss import build_aggregation, build_auxiliary_aggregation


@dataclass(frozen=True, slots=True)
class Planner:
    """Splits an iteration's groups into steps of whole prompts.  Decided on config when built."""

    advantage: Callable[[Sequence[Group]], Advantages]
    aggregation: Callable[[StepShape], Tensor]
    auxiliary_aggregation: Callable[[StepShape], Tensor]
    steps_per_iteration: int
    skip_idle: bool

    def __call__(self, groups: Sequence[Group]) -> list[Step]:
        """Raises ValueError when the groups do not split evenly into steps."""
        size, left_over = divmod(len(groups), self.steps_per_iteration)
        if left_over or not size:
            raise ValueError(
                f"{len(groups)} groups do not split into {self.steps_per_iteration} equal steps"
            )
        return [self._step(groups[i : i + size]) for i in range(0, len(groups), size)]

    def _step(self, groups: Sequence[Group]) -> Step:
        advantages = self.advantage(groups)
        samples = [s for g in groups for r in g.rollouts for s in r.samples]
        shape = step_shape(samples)
        weights = self.aggregation(shape).tolist()
        auxiliary = self.auxiliary_aggregation(shape).tolist()
        planned = [
            TrainSample(
                sample=sample,
                advantages_R=torch.full(
                    (len(sample.response_tokens_R),), advantages[sample.rollout_id]
                ),
                weight=weight,
                auxiliary_weight=auxiliary_weight,
            )
            for sample, weight, auxiliary_weight in zip(samples, weights, auxiliary, strict=True)
        ]
        return Step(
            samples=_without_idle(planned) if self.skip_idle else tuple(planned),
            rollouts=sum(len(g.rollouts) for g in groups),
            prompts=len(groups),
            active_tokens=int(shape.active_tokens.sum()),
        )


def step_shape(samples: Sequence[Sample]) -> StepShape:
    """All that the weights of these samples' step may depend on."""
    prompt_ids = [s.prompt_id for s in samples if s.prompt_id is not None]
    return StepShape(
        active_tokens=torch.tensor([s.active_tokens for s in samples]),
        rollout_ids=torch.tensor([s.rollout_id for s in samples]),
        prompt_ids=torch.tensor(prompt_ids) if len(prompt_ids) == len(samples) else None,
    )


def _without_idle(samples: Sequence[TrainSample]) -> tuple[TrainSample, ...]:
    """Those with a gradient; when there is none an idle one, so that the step is still taken."""
    busy = tuple(s for s in samples if s.sample.active_tokens and bool(s.advantages_R.any()))
    return busy or tuple(samples[:1])


def build_planner(
    loss: LossConfig, advantage: AdvantageConfig, steps_per_iteration: int
) -> Planner:
    """With a KL term or an entropy bonus every sample has a gradient, so none is idle."""
    every_sample_trains = isinstance(loss.kl, ReferenceKLConfig) or loss.entropy_coefficient > 0
    return Planner(
        advantage=build_advantage(advantage),
        aggregation=build_aggregation(loss),
        auxiliary_aggregation=build_auxiliary_aggregation(loss),
        steps_per_iteration=steps_per_iteration,
        skip_idle=loss.skip_idle_samples and not every_sample_trains,
    )

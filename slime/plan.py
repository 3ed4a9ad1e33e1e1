"""Rollouts -> optimizer steps: advantages, step weights, and who needs a forward pass.

This is the one place where a loss is normalised.  A step's weights are computed here, once, from
the whole step, before anything is split over ranks and micro-batches.  So are its advantages; where
they depend on log-probs (loss.kl.place=reward) slime.kl_in_reward fills them in.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slime.advantage import Advantages, build_advantage
from slime.config.schema import (
    SFT,
    AdvantageConfig,
    IncompleteStep,
    LossConfig,
    ReferenceKLConfig,
    kl_in_reward,
)
from slime.config.schema.steps import filtered_step_sizes
from slime.data import Finish, Group, Rollout, Sample, Step, StepShape, TrainSample
from slime.loss import Aggregation, build_aggregation, build_auxiliary_aggregation


@dataclass(frozen=True, slots=True)
class Planner:
    """Splits an iteration's groups into steps of whole prompts.  Decided on config when built."""

    advantage: Callable[[Sequence[Group]], Advantages]
    aggregation: Aggregation
    auxiliary_aggregation: Aggregation
    steps_per_iteration: int
    incomplete_step: IncompleteStep
    trained: Callable[[Rollout], Rollout]  # with the loss masks it is trained under
    skip_idle: bool

    def __call__(self, groups: Sequence[Group]) -> list[Step]:
        """One step for each of steps_per_iteration, fewer where a filter left too few groups.

        The last groups may be left over (drop).  No groups make no steps.

        Raises ValueError when the groups do not split into steps as incomplete_step says, when ids
        disagree, and when a weight cannot be computed, e.g. for want of prompt ids.
        """
        _check_ids(groups)
        sizes = filtered_step_sizes(len(groups), self.steps_per_iteration, self.incomplete_step)
        remaining = iter(groups)
        return [self._step([next(remaining) for _ in range(size)]) for size in sizes]

    def _step(self, generated: Sequence[Group]) -> Step:
        groups = tuple(_each_rollout(self.trained, group) for group in generated)
        samples = [s for g in groups for r in g.rollouts for s in r.samples]
        advantages = flattened(groups, self.advantage(groups))
        shape = step_shape(samples)
        weights = self.aggregation(shape).tolist()
        auxiliary = self.auxiliary_aggregation(shape).tolist()
        planned = [
            TrainSample(
                sample=sample,
                advantages_R=advantages_R,
                weight=weight,
                auxiliary_weight=auxiliary_weight,
            )
            for sample, advantages_R, weight, auxiliary_weight in zip(
                samples, advantages, weights, auxiliary, strict=True
            )
        ]
        return Step(
            samples=_without_idle(planned) if self.skip_idle else tuple(planned),
            rollouts=sum(len(g.rollouts) for g in groups),
            prompts=len(groups),
            active_tokens=int(shape.active_tokens.sum()),
            groups=groups,
        )


def flattened(groups: Sequence[Group], advantages: Advantages) -> list[Tensor]:
    """Those of the groups' samples, in order.  -> [R] float32 for each"""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return [values_R.float() for rollout in rollouts for values_R in advantages[rollout.id]]


def step_shape(samples: Sequence[Sample]) -> StepShape:
    """All that the weights of these samples' step may depend on."""
    prompt_ids = [s.prompt_id for s in samples if s.prompt_id is not None]
    return StepShape(
        active_tokens=torch.tensor([s.active_tokens for s in samples]),
        rollout_ids=torch.tensor([s.rollout_id for s in samples]),
        prompt_ids=torch.tensor(prompt_ids) if len(prompt_ids) == len(samples) else None,
    )


def _check_ids(groups: Sequence[Group]) -> None:
    """A group is a prompt: counted from the ids of samples or of groups, P must be the same."""
    seen: set[int] = set()
    for group in groups:
        if group.prompt.id in seen:
            raise ValueError(
                f"prompt {group.prompt.id} occurs in two groups: its rollouts belong in one group, "
                f"and in one step"
            )
        seen.add(group.prompt.id)
        for rollout in group.rollouts:
            if not rollout.samples:
                raise ValueError(f"rollout {rollout.id} has no samples, and would be missed in N")
        for rollout, sample in _samples(group):
            if sample.rollout_id != rollout.id:
                raise ValueError(
                    f"rollout {rollout.id} holds a sample of rollout {sample.rollout_id}"
                )
            if sample.prompt_id not in (group.prompt.id, None):
                raise ValueError(
                    f"rollout {rollout.id} of prompt {group.prompt.id} holds a sample of prompt "
                    f"{sample.prompt_id}"
                )


def _samples(group: Group) -> Iterator[tuple[Rollout, Sample]]:
    return ((rollout, sample) for rollout in group.rollouts for sample in rollout.samples)


def _each_rollout(change: Callable[[Rollout], Rollout], group: Group) -> Group:
    return replace(group, rollouts=tuple(map(change, group.rollouts)))


def _as_sampled(rollout: Rollout) -> Rollout:
    return rollout


def _masked_if_truncated(rollout: Rollout) -> Rollout:
    """No token of a rollout without an end is active; its reward still counts in the baseline."""
    if rollout.finish is Finish.stop:
        return rollout
    return replace(
        rollout,
        samples=tuple(
            replace(s, loss_mask_R=torch.zeros_like(s.loss_mask_R)) for s in rollout.samples
        ),
    )


def _not_known_yet(groups: Sequence[Group]) -> Advantages:
    """nan, so that a step whose advantages were never filled in is noticed and not trained on."""
    found: dict[int, tuple[Tensor, ...]] = {}
    for rollout in (rollout for group in groups for rollout in group.rollouts):
        shapes = [sample.loss_mask_R.shape for sample in rollout.samples]
        found[rollout.id] = tuple(torch.full(shape, torch.nan) for shape in shapes)
    return Advantages(found)


def _without_idle(samples: Sequence[TrainSample]) -> tuple[TrainSample, ...]:
    """Those with a gradient; when there is none an idle one, so that the step is still taken."""
    busy = tuple(s for s in samples if s.sample.active_tokens and bool(s.advantages_R.any()))
    return busy or tuple(samples[:1])


def build_planner(
    loss: LossConfig,
    advantage: AdvantageConfig,
    steps_per_iteration: int,
    incomplete_step: IncompleteStep,
) -> Planner:
    """With a KL term or an entropy bonus every sample has a gradient, so none is idle.

    Nor is one under loss/objective=sft, which reads no advantage.
    With the KL in the reward none is either: no advantage is known before its log-probs are.
    """
    every_sample_trains = (
        isinstance(loss.kl, ReferenceKLConfig)
        or loss.entropy_coefficient > 0
        or isinstance(loss.objective, SFT)
    )
    return Planner(
        advantage=_not_known_yet if kl_in_reward(loss.kl) else build_advantage(advantage),
        aggregation=build_aggregation(loss),
        auxiliary_aggregation=build_auxiliary_aggregation(loss),
        steps_per_iteration=steps_per_iteration,
        incomplete_step=incomplete_step,
        trained=_masked_if_truncated if loss.mask_truncated else _as_sampled,
        skip_idle=loss.skip_idle_samples and not every_sample_trains,
    )

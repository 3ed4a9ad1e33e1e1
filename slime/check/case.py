"""The step that is checked: as the planner makes it, and beside it by the formulas."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slime.check.off_policy import OffPolicy
from slime.check.plan_by_hand import Item, PolicyLogProbs, items
from slime.config.schema import AdvantageConfig, LossConfig, ReferenceKLConfig, kl_in_reward
from slime.data import Group, Sample, Step, TrainSample
from slime.kl_in_reward import build_kl_in_reward
from slime.model.exact import ExactModel
from slime.plan import Planner


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Log-probs for the response tokens of a sample, float32, near those of the model."""

    old_R: Tensor | None  # None: on policy
    reference_R: Tensor | None  # None: no KL term
    rollout_R: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """The same step twice.  drawn[i] belongs to items[i]."""

    step: Step  # what the workers get
    items: tuple[Item, ...]  # every sample of the step, idle ones included
    drawn: tuple[Drawn, ...]
    temperature: float


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws the log-probs of a step under one loss."""

    loss: LossConfig
    temperature: float
    off_policy: OffPolicy
    has_old: bool  # whether the step has old log-probs of its own

    @torch.no_grad()
    def __call__(self, model: ExactModel, sample: Sample) -> Drawn:
        loss, mask_R = self.loss, sample.loss_mask_R
        current_R, _ = response_log_probs(model, sample, self.temperature)
        old_R = self.off_policy.old(current_R, mask_R, loss.objective) if self.has_old else None
        rollout_R = self.off_policy.rollout(current_R if old_R is None else old_R, loss.correction)
        has_reference = isinstance(loss.kl, ReferenceKLConfig)
        return Drawn(
            old_R=old_R,
            reference_R=self.off_policy.reference(current_R) if has_reference else None,
            # Where the mask is 0 an engine has no log-prob to give.
            rollout_R=torch.where(mask_R, rollout_R, 0.0),
        )


def response_log_probs(
    model: ExactModel, sample: Sample, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-prob of each response token and entropy of its distribution.  -> [R], [R] float64"""
    tokens_T = torch.cat([sample.prompt_tokens_P, sample.response_tokens_R])
    first = len(sample.prompt_tokens_P) - 1
    logits_RV = model.logits(tokens_T)[first : len(tokens_T) - 1] / temperature
    table_RV = logits_RV.log_softmax(-1)
    log_probs_R = table_RV.gather(-1, sample.response_tokens_R[:, None])[:, 0]
    return log_probs_R, -(table_RV.exp() * table_RV).sum(-1)


def with_rollout_log_probs(groups: Sequence[Group], drawn: Sequence[Drawn]) -> list[Group]:
    """The groups with the drawn ones in place of their own; a Drawn for each sample, in order."""
    rest = iter(drawn)
    return [
        replace(
            group,
            rollouts=tuple(
                replace(
                    rollout,
                    samples=tuple(
                        replace(sample, rollout_log_probs_R=next(rest).rollout_R)
                        for sample in rollout.samples
                    ),
                )
                for rollout in group.rollouts
            ),
        )
        for group in groups
    ]


def samples_of(groups: Sequence[Group]) -> list[Sample]:
    return [s for group in groups for rollout in group.rollouts for s in rollout.samples]


def build_case(
    groups: Sequence[Group],
    drawn: Sequence[Drawn],
    plan: Planner,
    draw: Draw,
    advantage: AdvantageConfig,
) -> Case:
    """The case of the groups' first step.  drawn: of its samples, in order.

    Raises ValueError for groups that the planner refuses.
    """
    step = plan(groups)[0]
    log_probs = _of_policies(drawn, draw.loss)
    of_step = items(groups[: step.prompts], draw.loss, advantage, log_probs)
    found = {_key(item.sample): one for item, one in zip(of_step, drawn, strict=True)}
    attached = tuple(_attach(sample, found[_key(sample.sample)]) for sample in step.samples)
    step = replace(step, samples=attached)
    if kl_in_reward(draw.loss.kl):
        [step] = build_kl_in_reward(draw.loss.kl, advantage)([step])
    return Case(step, of_step, tuple(drawn), draw.temperature)


def _of_policies(drawn: Sequence[Drawn], loss: LossConfig) -> list[PolicyLogProbs]:
    """What a KL in the reward is made of; nothing where there is none."""
    if not kl_in_reward(loss.kl):
        return []
    found = []
    for one in drawn:
        assert one.old_R is not None
        assert one.reference_R is not None
        found.append(PolicyLogProbs(one.old_R, one.reference_R))
    return found


def _key(sample: Sample) -> int:
    """The planner may put another mask on a sample, but its tokens stay the same object."""
    return id(sample.response_tokens_R)


def _attach(sample: TrainSample, drawn: Drawn) -> TrainSample:
    return replace(sample, old_log_probs_R=drawn.old_R, reference_log_probs_R=drawn.reference_R)

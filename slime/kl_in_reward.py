"""KL in the reward: what leaving the reference costs, known once the log-prob passes have run.

    reward of a rollout - coefficient * sum over its active tokens of  kl_t

kl_t is k1, k2 or k3 of the old policy (the one before the iteration's first step, which has drawn
the tokens) against the reference.  The loss has no KL term then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slime.advantage import AdvantageEstimator, PerToken, build_advantage
from slime.config.schema import AdvantageConfig, ReferenceKLConfig
from slime.data import Step, TrainSample
from slime.loss import KLEstimator, build_kl_estimator
from slime.plan import flattened


@dataclass(frozen=True, slots=True)
class KLInReward:
    """Fills in the advantages of planned steps.  Decided on config when built."""

    estimate: KLEstimator
    coefficient: float
    advantage: AdvantageEstimator

    def __call__(self, steps: Sequence[Step]) -> list[Step]:
        """The same steps with their advantages.

        Raises ValueError for samples without old or reference log-probs, and as the estimator does.
        """
        return [self._filled_in(step) for step in steps]

    def _filled_in(self, step: Step) -> Step:
        penalties = self._penalties(step)
        advantages = flattened(step.groups, self.advantage(step.groups, penalties))
        return replace(
            step,
            kl_penalty=sum(p_R.sum().item() for of in penalties.values() for p_R in of),
            samples=tuple(
                replace(sample, advantages_R=advantages_R)
                for sample, advantages_R in zip(step.samples, advantages, strict=True)
            ),
        )

    def _penalties(self, step: Step) -> PerToken:
        """The planner has kept every sample, in the order of the groups."""
        found: dict[int, tuple[Tensor, ...]] = {}
        for sample in step.samples:
            of_rollout = found.get(sample.sample.rollout_id, ())
            found[sample.sample.rollout_id] = (*of_rollout, self._penalty(sample))
        return found

    def _penalty(self, sample: TrainSample) -> Tensor:
        """-> [R] float64"""
        old_R, reference_R = sample.old_log_probs_R, sample.reference_log_probs_R
        if old_R is None or reference_R is None:
            raise ValueError(
                f"loss.kl.place=reward needs old and reference log-probs, and a sample of rollout "
                f"{sample.sample.rollout_id} does not have both"
            )
        kl_R = self.estimate(old_R.double(), reference_R.double())
        return torch.where(sample.sample.loss_mask_R, self.coefficient * kl_R, 0.0)


def build_kl_in_reward(kl: ReferenceKLConfig, advantage: AdvantageConfig) -> KLInReward:
    """What fills in the advantages under loss.kl.place=reward."""
    return KLInReward(build_kl_estimator(kl), kl.coefficient, build_advantage(advantage))

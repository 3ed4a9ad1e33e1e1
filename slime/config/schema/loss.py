"""The loss node: a class per loss/aggregation choice."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from slime.config.schema.base import Node, key, not_negative, positive_float32
from slime.config.schema.imported import path_problems
from slime.config.schema.loss_objectives import GSPO, PPO, SFT, ObjectiveConfig
from slime.config.schema.loss_terms import CorrectionConfig, KLConfig, ReferenceKLConfig


class EmptyUnits(Enum):
    """Whether rollouts and prompts without an active token count in N and P."""

    count = "count"
    drop = "drop"


class AuxiliaryAggregation(Enum):
    """How the KL and entropy terms are averaged."""

    auto = "auto"
    same = "same"
    sample_mean = "sample_mean"
    prompt_mean = "prompt_mean"
    token_mean = "token_mean"


@dataclass(slots=True, kw_only=True)
class LossConfig(Node):
    """What every aggregation mode shares."""

    aggregation: str = key("written by the loss/aggregation group, never by hand")
    auxiliary_aggregation: AuxiliaryAggregation = key(
        "how the KL and entropy terms are averaged: sample_mean | prompt_mean | token_mean | same "
        "(as the policy-gradient term) | auto (token_mean under loss/aggregation=token_mean, else "
        "sample_mean)",
        AuxiliaryAggregation.auto,
    )
    entropy_coefficient: float = key("weight of the entropy bonus (0: none)", 0.0)
    empty_units: EmptyUnits = key(
        "whether rollouts and prompts without an active token count in N and P: count | drop",
        EmptyUnits.count,
    )
    mask_truncated: bool = key(
        "mask rollouts that ran into the token budget or were aborted; every denominator follows",
        False,
    )
    skip_idle_samples: bool = key(
        "leave samples without any gradient (zero advantage, no KL, no entropy bonus) out of the "
        "forward pass; their weights still count",
        True,
        trains=False,
    )
    objective: ObjectiveConfig = key("chosen by the loss/objective group")
    kl: KLConfig = field(default_factory=KLConfig)
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)

    def idle(self) -> frozenset[str]:
        has_auxiliary = self.entropy_coefficient > 0 or isinstance(self.kl, ReferenceKLConfig)
        if has_auxiliary:
            return frozenset()
        counts_no_units = isinstance(self, TokenMeanLoss | ConstantLoss)
        return frozenset({"auxiliary_aggregation", *(["empty_units"] if counts_no_units else [])})

    def problems(self) -> Iterator[str]:
        yield from not_negative("loss.entropy_coefficient", self.entropy_coefficient)
        yield from self._once_per_token()
        yield from self._not_for_given_texts()

    def _once_per_token(self) -> Iterator[str]:
        whole_samples = isinstance(self, SampleMeanLoss | CustomLoss)
        if isinstance(self.objective, GSPO) and not whole_samples:
            yield (
                f"loss/objective=gspo has one ratio for a whole sequence, and "
                f"loss/aggregation={self.aggregation} would count it once for each of its tokens, "
                f"long sequences more than short ones: write loss/aggregation=sample_mean"
            )

    def _not_for_given_texts(self) -> Iterator[str]:
        """Both are made of tokens that the policy has drawn, and weigh how likely it was to."""
        if not isinstance(self.objective, SFT):
            return
        if type(self.correction) is not CorrectionConfig:
            yield (
                f"loss/correction={self.correction.name} corrects for how the rollout engine drew "
                f"its tokens, and loss/objective=sft imitates them whoever wrote them: write "
                f"loss/correction=none"
            )
        if isinstance(self.kl, ReferenceKLConfig):
            yield (
                f"loss/kl={self.kl.name} is an estimate from tokens that the policy has drawn, and "
                f"loss/objective=sft imitates tokens whoever wrote them: write loss/kl=none"
            )


@dataclass(slots=True, kw_only=True)
class _LossWithPPO(LossConfig):
    """A loss node that is written in Python has PPO unless it says otherwise.

    Not in LossConfig: the keys of its default would stay under every other loss/objective.
    """

    objective: ObjectiveConfig = field(default_factory=PPO)


@dataclass(slots=True, kw_only=True)
class SampleMeanLoss(_LossWithPPO):
    """1 / (N * M_rollout): every rollout counts the same (GRPO)."""

    aggregation: str = "sample_mean"


@dataclass(slots=True, kw_only=True)
class PromptMeanLoss(_LossWithPPO):
    """1 / (P * M_prompt): every prompt counts the same (DAPO paper, ScaleRL)."""

    aggregation: str = "prompt_mean"


@dataclass(slots=True, kw_only=True)
class TokenMeanLoss(_LossWithPPO):
    """1 / M_step: every token counts the same, per step (DAPO code)."""

    aggregation: str = "token_mean"


@dataclass(slots=True, kw_only=True)
class ConstantLoss(_LossWithPPO):
    """1 / (N * divisor): every token counts the same, whatever the lengths (Dr.GRPO)."""

    aggregation: str = "constant"
    divisor: float = key(
        "the constant L; it sets the scale of the loss, so it has no default", unit="tokens"
    )

    def problems(self) -> Iterator[str]:
        yield from LossConfig.problems(self)  # zero-argument super() breaks under slots=True
        yield from positive_float32("loss.divisor", self.divisor)


@dataclass(slots=True, kw_only=True)
class CustomLoss(_LossWithPPO):
    """Your own function StepShape -> weights [S], named on the command line."""

    aggregation: str = "custom"
    function: str = key("package.module:name of a function StepShape -> weights [S]")

    def problems(self) -> Iterator[str]:
        yield from LossConfig.problems(self)
        yield from path_problems("loss.function", self.function)

"""A step as the planner makes it, beside what the oracle says it must give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from layouts.oracle import Expected, expect, rows
from layouts.reference_model import ReferenceModel, reference_model
from layouts.steps import (
    CAP,
    CLIP_HIGH,
    CLIP_LOW,
    KEPT_HIGH,
    KEPT_LOW,
    SEQUENCE_CLIP_HIGH,
    SEQUENCE_CLIP_LOW,
    Drawn,
    draw_groups,
    draw_lonely_group,
    of,
    with_log_probs,
)

from slime.config.schema import (
    CISPO,
    GSPO,
    K1,
    K2,
    K3,
    PPO,
    SFT,
    TIS,
    AdvantageConfig,
    AuxiliaryAggregation,
    ConstantLoss,
    CorrectionConfig,
    CustomLoss,
    DrGrpoAdvantage,
    EmptyUnits,
    GrpoAdvantage,
    IcePop,
    IncompleteStep,
    KLConfig,
    LossConfig,
    PromptMeanLoss,
    Reinforce,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.data import Group, Sample, Step, TrainSample
from slime.plan import build_planner

TEMPERATURE = 0.7

_CLIP = PPO(clip_low=CLIP_LOW, clip_high=CLIP_HIGH)
_SEQUENCE_CLIP = GSPO(clip_low=SEQUENCE_CLIP_LOW, clip_high=SEQUENCE_CLIP_HIGH)
_DUAL_CLIP = PPO(clip_low=CLIP_LOW, clip_high=9.0, dual_clip=1 + CLIP_HIGH)
_TRUNCATED = CISPO(clip_low=CLIP_LOW, clip_high=CLIP_HIGH)
_ICEPOP = IcePop(low=KEPT_LOW, high=KEPT_HIGH)
_EVERY: dict[str, Any] = {
    "objective": _CLIP,
    "kl": K3(coefficient=0.3),
    "entropy_coefficient": 0.05,
    "correction": _ICEPOP,
}
_BY_ROOT = "layouts.custom_weights:by_root"

# The six ways to aggregate, with every term on.
MODES: dict[str, LossConfig] = {
    "sample_mean": SampleMeanLoss(**_EVERY),
    "prompt_mean": PromptMeanLoss(**_EVERY),
    "token_mean": TokenMeanLoss(**_EVERY),
    "constant": ConstantLoss(**_EVERY, divisor=37.5),
    "dr_grpo": ConstantLoss(**_EVERY, divisor=14.0),  # the longest response
    "custom": CustomLoss(**_EVERY, function=_BY_ROOT),
}

TERMS: dict[str, LossConfig] = {
    "policy_only": SampleMeanLoss(objective=_CLIP),
    "policy_only_all_samples": PromptMeanLoss(objective=_CLIP, skip_idle_samples=False),
    "k1": TokenMeanLoss(objective=_CLIP, kl=K1(coefficient=0.2)),
    "k2": PromptMeanLoss(objective=_CLIP, kl=K2(coefficient=0.2)),
    "entropy_only": ConstantLoss(objective=_CLIP, entropy_coefficient=0.1, divisor=9.0),
    "tis": SampleMeanLoss(**{**_EVERY, "correction": TIS(cap=CAP)}),
    "gspo": SampleMeanLoss(**{**_EVERY, "objective": _SEQUENCE_CLIP}),
    "gspo_custom": CustomLoss(**{**_EVERY, "objective": _SEQUENCE_CLIP}, function=_BY_ROOT),
    "gspo_tis": SampleMeanLoss(objective=_SEQUENCE_CLIP, correction=TIS(cap=CAP)),
    "dual_clip": PromptMeanLoss(**{**_EVERY, "objective": _DUAL_CLIP}),
    "cispo": PromptMeanLoss(**{**_EVERY, "objective": _TRUNCATED}),
    "cispo_token_mean": TokenMeanLoss(objective=_TRUNCATED, correction=TIS(cap=CAP)),
    "reinforce": ConstantLoss(**{**_EVERY, "objective": Reinforce()}, divisor=37.5),
    "sft": TokenMeanLoss(objective=SFT()),
    "uncorrected": SampleMeanLoss(**{**_EVERY, "correction": CorrectionConfig()}),
}

_DROP, _MASK = {"empty_units": EmptyUnits.drop}, {"mask_truncated": True}
UNITS: dict[str, LossConfig] = {
    "drop_sample_mean": SampleMeanLoss(**_EVERY, **_DROP),
    "drop_prompt_mean": PromptMeanLoss(**_EVERY, **_DROP),
    "drop_constant": ConstantLoss(**_EVERY, **_DROP, divisor=37.5),
    "truncated_sample_mean": SampleMeanLoss(**_EVERY, **_MASK),
    "truncated_prompt_mean": PromptMeanLoss(**_EVERY, **_MASK, **_DROP),
    "truncated_token_mean": TokenMeanLoss(**_EVERY, **_MASK),
    "auxiliary_same": ConstantLoss(
        **_EVERY, divisor=37.5, auxiliary_aggregation=AuxiliaryAggregation.same
    ),
    "auxiliary_token_mean": PromptMeanLoss(
        **_EVERY, auxiliary_aggregation=AuxiliaryAggregation.token_mean
    ),
    "auxiliary_sample_mean": TokenMeanLoss(
        **_EVERY, auxiliary_aggregation=AuxiliaryAggregation.sample_mean
    ),
    "auxiliary_prompt_mean": CustomLoss(
        **_EVERY, function=_BY_ROOT, auxiliary_aggregation=AuxiliaryAggregation.prompt_mean
    ),
}
LOSSES = {**MODES, **TERMS, **UNITS}


@dataclass(frozen=True)
class Setting:
    """How groups become steps.  on_policy: without old log-probs."""

    loss: LossConfig
    advantage: AdvantageConfig = field(default_factory=DrGrpoAdvantage)
    steps_per_iteration: int = 1
    on_policy: bool = False


@dataclass(frozen=True, eq=False)
class Problem:
    step: Step
    expected: Expected
    gradient: dict[str, np.ndarray]


def model_of(folder: Path, stored: torch.dtype = torch.float32) -> ReferenceModel:
    return reference_model(folder, TEMPERATURE, stored)


def problems(drawn: Drawn, setting: Setting, model: ReferenceModel) -> list[Problem]:
    """One for each step that the groups make."""
    steps = planned(drawn, setting)
    parts = _equal_parts(drawn.groups, setting.steps_per_iteration)
    assert len(steps) == len(parts)
    return [
        _problem(step, part, drawn, setting, model) for step, part in zip(steps, parts, strict=True)
    ]


def planned(drawn: Drawn, setting: Setting) -> list[Step]:
    """The code under test, with the log-probs that the trainer would attach."""
    planner = build_planner(setting.loss, setting.advantage, setting.steps_per_iteration,
                            IncompleteStep.train)  # fmt: skip

    def attach(train: TrainSample) -> TrainSample:
        old, reference = (of(values, train.sample) for values in (drawn.old, drawn.reference))
        with_kl = type(setting.loss.kl) is not KLConfig
        return replace(
            train,
            old_log_probs_R=None if setting.on_policy else torch.tensor(old).float(),
            reference_log_probs_R=torch.tensor(reference).float() if with_kl else None,
        )

    return [
        replace(step, samples=tuple(map(attach, step.samples))) for step in planner(drawn.groups)
    ]


def _equal_parts(groups: Sequence[Group], count: int) -> list[Sequence[Group]]:
    """Whole prompts; the last part is what is left over."""
    size = math.ceil(len(groups) / count)
    return [groups[start : start + size] for start in range(0, len(groups), size)]


def _problem(
    step: Step, groups: Sequence[Group], drawn: Drawn, setting: Setting, model: ReferenceModel
) -> Problem:
    def read(sample: Sample) -> tuple[np.ndarray | None, ...]:
        old_R = None if setting.on_policy else of(drawn.old, sample)
        return old_R, of(drawn.reference, sample), *model.read(sample)

    step_rows = rows(groups, read, loss=setting.loss, advantage=setting.advantage)
    expected = expect(step_rows, setting.loss)
    samples = [s for group in groups for rollout in group.rollouts for s in rollout.samples]
    slopes = expected.log_prob_slopes, expected.entropy_slopes
    return Problem(step, expected, model.gradient(samples, *slopes))


def near(folder: Path, groups: Sequence[Group], seed: int) -> Drawn:
    """With log-probs near the model's."""
    return with_log_probs(groups, lambda sample: model_of(folder).read(sample)[0], seed)


@cache
def seeded(folder: Path, seed: int, prompts: int = 4) -> Drawn:
    return near(folder, draw_groups(Random(seed), prompts), seed)


@cache
def seeded_problems(
    folder: Path, seed: int, loss: str, *, prompts: int = 4, steps: int = 1, on_policy: bool = False
) -> list[Problem]:
    advantage = GrpoAdvantage() if seed % 2 else DrGrpoAdvantage()
    setting = Setting(LOSSES[loss], advantage, steps, on_policy)
    return problems(seeded(folder, seed, prompts), setting, model_of(folder))


@cache
def lonely_problem(folder: Path, loss: str) -> Problem:
    drawn = near(folder, draw_lonely_group(Random(0)), 0)
    return problems(drawn, Setting(LOSSES[loss]), model_of(folder))[0]

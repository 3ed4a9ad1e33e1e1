"""Combinations that are legal and surely unintended: one sentence each, a warning at start.

Only what is sure stands here; a warning that is often wrong teaches people not to read warnings.
"""

import dataclasses
from collections.abc import Iterator

from slime.config.schema.base import default_of
from slime.config.schema.check_command import CheckConfig
from slime.config.schema.command import Command, PlanConfig
from slime.config.schema.loss import ConstantLoss, LossConfig
from slime.config.schema.loss_objectives import CISPO, GSPO, PPO, SFT, ObjectiveConfig
from slime.config.schema.loss_terms import CorrectionConfig
from slime.config.schema.parallel import ParallelConfig
from slime.config.schema.rollout import EvaluationConfig, ReplayEngine, RolloutConfig

_CLIPS = ("clip_low", "clip_high", "dual_clip")


def divisor_below_the_budget(loss: LossConfig, rollout: RolloutConfig) -> Iterator[str]:
    """Dr.GRPO divides by a constant that no response is longer than.

    A divisor of 1 is meant: then a response counts with the sum over its tokens, as in RLOO.
    """
    if not isinstance(loss, ConstantLoss) or isinstance(rollout.engine, ReplayEngine):
        return
    if 1 < loss.divisor < rollout.max_response_tokens or loss.divisor < 1:
        yield (
            f"loss.divisor={loss.divisor:g} is below rollout.max_response_tokens="
            f"{rollout.max_response_tokens}: a longer response weighs more than one rollout; "
            f"loss/aggregation=dr_grpo divides by the budget"
        )


def clip_without_effect(objective: ObjectiveConfig, steps_per_iteration: int) -> Iterator[str]:
    """The first step of an iteration is on policy: its ratios are 1, which no bound cuts."""
    if not isinstance(objective, PPO | GSPO | CISPO) or steps_per_iteration > 1:
        return
    for field in dataclasses.fields(objective):
        value = getattr(objective, field.name)
        if field.name in _CLIPS and value is not None and value != field.default:
            yield (
                f"loss.objective.{field.name}={value:g} clips nothing: with steps_per_iteration=1 "
                f"every ratio is 1"
            )


def sampled_from_a_part(loss: LossConfig, rollout: RolloutConfig) -> Iterator[str]:
    """The engine draws from the likeliest tokens only, and the trainer scores all of them."""
    corrected = type(loss.correction) is not CorrectionConfig
    if rollout.top_p < 1 and not corrected and not isinstance(loss.objective, SFT):
        yield (
            f"rollout.top_p={rollout.top_p:g} draws tokens from a part of the distribution, and "
            f"the loss takes them for draws from all of it: write rollout.top_p=1, or correct for "
            f"it with loss/correction=tis"
        )


def idle_workers(
    parallel: ParallelConfig, rollout: RolloutConfig, steps_per_iteration: int
) -> Iterator[str]:
    """More shares than there are rollouts to share."""
    if isinstance(rollout.engine, ReplayEngine) or steps_per_iteration < 1:
        return
    prompts = -(-rollout.prompts_per_iteration // steps_per_iteration)
    rollouts = prompts * rollout.samples_per_prompt
    if parallel.data > rollouts:
        yield (
            f"parallel.data={parallel.data} groups of workers share steps of {rollouts} rollouts: "
            f"{parallel.data - rollouts} of them never have one"
        )


def never_evaluated(evaluation: EvaluationConfig) -> Iterator[str]:
    changed = evaluation.interval != default_of(evaluation, "interval")
    if evaluation.prompts == 0 and evaluation.interval > 0 and changed:
        yield (f"evaluation.interval={evaluation.interval} evaluates nothing: evaluation.prompts=0")


def not_read(command: Command, check: CheckConfig) -> Iterator[str]:
    if check.replay is not None and command not in (Command.check, Command.explain):
        yield (
            f"check.replay={check.replay} is not read by command={command.name}: write "
            f"command=check or command=explain"
        )


def not_planned(command: Command, plan: PlanConfig) -> Iterator[str]:
    given = [f.name for f in dataclasses.fields(plan) if getattr(plan, f.name) is not None]
    if given and command is not Command.plan:
        yield f"plan.{given[0]} is not read by command={command.name}: write command=plan"

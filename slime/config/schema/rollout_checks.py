"""What must fit together around the rollouts: filter, shaping, demonstrations.

Under rollout/engine=replay none of it is asked: the rollouts were chosen and shaped when they were
saved.
"""

from collections.abc import Iterator

from slime.config.schema.advantage import AdvantageConfig, ConstantAdvantage, needs_groups
from slime.config.schema.loss_objectives import SFT, ObjectiveConfig
from slime.config.schema.overlong import OverlongConfig
from slime.config.schema.rollout import Demonstrations, RolloutConfig
from slime.config.schema.rollout_filter import DynamicFilter, FilterConfig, ZeroVarianceFilter
from slime.config.schema.steps import IncompleteStep


def filter_problems(
    rollout: RolloutConfig,
    advantage: AdvantageConfig,
    steps_per_iteration: int,
    incomplete_step: IncompleteStep,
) -> Iterator[str]:
    """Whether rollout/filter can do what it is for."""
    name = f"rollout/filter={rollout.filter.name}"
    filters = type(rollout.filter) is not FilterConfig
    if filters and rollout.samples_per_prompt == 1 and not needs_groups(advantage):
        yield (
            f"{name} leaves out groups whose rewards are all equal, and those of a group of one "
            f"always are: write rollout/filter=none, or raise rollout.samples_per_prompt=1"
        )
    match rollout.filter:
        case DynamicFilter():
            yield from _too_few_draws(rollout.filter, rollout.prompts_per_iteration)
        case ZeroVarianceFilter() if (
            steps_per_iteration > 1 and incomplete_step is IncompleteStep.refuse
        ):
            yield (
                f"{name} leaves any number of prompts, which need not split into "
                f"steps_per_iteration={steps_per_iteration} equal steps: write "
                f"incomplete_step=train or incomplete_step=drop"
            )


def _too_few_draws(config: DynamicFilter, wanted: int) -> Iterator[str]:
    rounds, drawn = config.max_rounds, config.prompts_per_round
    if drawn is not None and drawn >= 1 and 1 <= rounds * drawn < wanted:
        yield (
            f"rollout.filter.max_rounds={rounds} x rollout.filter.prompts_per_round={drawn} is "
            f"less than rollout.prompts_per_iteration={wanted}: an iteration could never be full"
        )


def demonstration_problems(
    rollout: RolloutConfig,
    overlong: OverlongConfig,
    objective: ObjectiveConfig,
    advantage: AdvantageConfig,
) -> Iterator[str]:
    """Demonstrations and loss/objective=sft go together, and with nothing that weighs samples."""
    if not isinstance(rollout.engine, Demonstrations):
        if isinstance(objective, SFT):
            yield (
                f"loss/objective=sft imitates whatever it is given, and rollout/engine="
                f"{rollout.engine.name} gives the model's own answers: write "
                f"rollout/engine=demonstrations"
            )
        return
    if rollout.samples_per_prompt > 1:
        yield (
            f"rollout.samples_per_prompt={rollout.samples_per_prompt}: "
            f"rollout/engine=demonstrations has one answer for a prompt; write "
            f"rollout.samples_per_prompt=1"
        )
    if not isinstance(objective, SFT):
        yield (
            f"loss/objective={objective.name} weighs how likely an answer was to be sampled, and "
            f"those of rollout/engine=demonstrations were not: write loss/objective=sft"
        )
    if not isinstance(advantage, ConstantAdvantage):
        yield (
            f"advantage={advantage.name} tells good answers from bad ones, and "
            f"rollout/engine=demonstrations gives right ones only: write advantage=constant"
        )
    for group, chosen in (("rollout/filter", rollout.filter), ("reward/overlong", overlong)):
        if chosen.name != "none":
            yield (
                f"{group}={chosen.name} is for sampled answers, and "
                f"rollout/engine=demonstrations gives others: write {group}=none"
            )

"""The whole config of one run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from slime.config.schema.advantage import AdvantageConfig
from slime.config.schema.base import Node, a_seed, at_least, key
from slime.config.schema.check_command import CheckConfig
from slime.config.schema.loss import LossConfig
from slime.config.schema.parallel import ParallelConfig
from slime.config.schema.rollout import (
    EvaluationConfig,
    ModelConfig,
    ReplayEngine,
    RewardConfig,
    RolloutConfig,
    TaskConfig,
)
from slime.config.schema.steps import IncompleteStep, StepsError, step_sizes
from slime.config.schema.training import (
    AdamConfig,
    ClusterConfig,
    OptimizerConfig,
    TrackingConfig,
)


class Command(Enum):
    """What launch.py does with the config."""

    train = "train"
    check = "check"
    explain = "explain"


@dataclass(slots=True, kw_only=True)
class Config(Node):
    """One run."""

    command: Command = key(
        "train | check (prove the loss on this config and machine) | explain (show what each mode "
        "weighs in a saved iteration)",
        Command.train,
        trains=False,
    )
    recipe: str | None = key("written by the recipe group, never by hand", None, trains=False)
    seed: int = key("of prompts, sampling and initialisation", 0)
    iterations: int = key("how often to generate and train", 20)
    steps_per_iteration: int = key("optimizer steps that share one iteration's prompts", 1)
    incomplete_step: IncompleteStep = key(
        "when the prompts do not split into equal steps: refuse | train (the last step is smaller, "
        "with its own N and P) | drop (what is left over trains nothing)",
        IncompleteStep.refuse,
    )
    max_bad_steps: int = key("stop after so many steps in a row with NaN or inf", 3)
    model: ModelConfig = key("chosen by the model group")
    task: TaskConfig = key("chosen by the task group")
    reward: RewardConfig = key("chosen by the reward group")
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    advantage: AdvantageConfig = key("chosen by the advantage group")
    loss: LossConfig = key("chosen by the loss/aggregation group")
    optimizer: OptimizerConfig = key("chosen by the optimizer group")
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    cluster: ClusterConfig = key("chosen by the cluster group", trains=False)
    tracking: TrackingConfig = key("chosen by the tracking group", trains=False)
    check: CheckConfig = key("settings of command=check and command=explain", trains=False)

    def problems(self) -> Iterator[str]:
        yield from at_least("iterations", self.iterations, 1)
        yield from at_least("steps_per_iteration", self.steps_per_iteration, 1)
        yield from at_least("max_bad_steps", self.max_bad_steps, 1)
        yield from a_seed("seed", self.seed)
        yield from self._nothing_to_save()
        yield from self._sizes_that_do_not_fit()
        yield from self._nothing_to_learn_from()
        yield from self._warm_up_without_end()

    def _nothing_to_save(self) -> Iterator[str]:
        if isinstance(self.rollout.engine, ReplayEngine) and self.rollout.save is not None:
            yield "rollout.save has nothing to save under rollout/engine=replay: drop one of them"

    def _sizes_that_do_not_fit(self) -> Iterator[str]:
        if isinstance(self.rollout.engine, ReplayEngine):
            return  # the saved rollouts have sizes of their own
        prompts, steps = self.rollout.prompts_per_iteration, self.steps_per_iteration
        if prompts >= 1 and steps >= 1:
            try:
                step_sizes(prompts, steps, self.incomplete_step)
            except StepsError as wrong:
                yield (
                    f"rollout.prompts_per_iteration={prompts} does not split into "
                    f"steps_per_iteration={steps}: {wrong}"
                )
        yield from self._too_long_for_a_micro_batch()

    def _too_long_for_a_micro_batch(self) -> Iterator[str]:
        parallel, rollout = self.parallel, self.rollout
        if parallel.microbatches is not None or list(parallel.problems()):
            return
        longest = rollout.max_prompt_tokens + rollout.max_response_tokens
        needed = parallel.padded(longest)
        if parallel.max_tokens_per_microbatch < needed:
            padded = f", {needed} with the padding of this layout" if needed > longest else ""
            yield (
                f"parallel.max_tokens_per_microbatch={parallel.max_tokens_per_microbatch} is "
                f"less than one sample can have: rollout.max_prompt_tokens + "
                f"rollout.max_response_tokens = {longest}{padded}"
            )

    def _nothing_to_learn_from(self) -> Iterator[str]:
        if isinstance(self.rollout.engine, ReplayEngine):
            return  # the saved rollouts have sizes of their own
        if self.rollout.samples_per_prompt == 1:
            yield (
                "rollout.samples_per_prompt must be at least 2, got 1: an advantage compares a "
                "rollout with the others of its group, and in a group of one it is always 0"
            )

    def _warm_up_without_end(self) -> Iterator[str]:
        if not isinstance(self.optimizer, AdamConfig):
            return
        steps = self.iterations * self.steps_per_iteration
        if self.optimizer.warmup_steps >= steps >= 1:
            yield (
                f"optimizer.warmup_steps={self.optimizer.warmup_steps} leaves no step at "
                f"optimizer.learning_rate: iterations x steps_per_iteration = {steps}"
            )

"""The whole config of one run."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from slime.config.schema.advantage import (
    AdvantageConfig,
    ConstantAdvantage,
    ReinforcePlusPlusAdvantage,
    Whitening,
    needs_groups,
)
from slime.config.schema.base import Node, a_seed, at_least, default_of, key, texts
from slime.config.schema.check_command import CheckConfig
from slime.config.schema.checkpoint import CheckpointConfig
from slime.config.schema.command import Command, PlanConfig, ReportConfig, command_problems
from slime.config.schema.loss import LossConfig
from slime.config.schema.loss_terms import kl_in_reward
from slime.config.schema.model import ModelConfig
from slime.config.schema.named_functions import refused_on_a_shared_cluster
from slime.config.schema.parallel import ParallelConfig
from slime.config.schema.rollout import (
    Demonstrations,
    EvaluationConfig,
    ReplayEngine,
    RewardConfig,
    RolloutConfig,
    TaskConfig,
)
from slime.config.schema.rollout_checks import (
    demonstration_problems,
    filter_problems,
)
from slime.config.schema.steps import IncompleteStep, StepsError, step_sizes
from slime.config.schema.sweep import SweepConfig
from slime.config.schema.tracking import TrackingConfig
from slime.config.schema.training import AdamConfig, ClusterConfig, OptimizerConfig
from slime.config.schema.unintended import (
    clip_without_effect,
    divisor_below_the_budget,
    idle_workers,
    never_evaluated,
    not_planned,
    not_read,
    sampled_from_a_part,
)


@dataclass(slots=True, kw_only=True)
class Config(Node):
    """One run."""

    command: Command = key(
        "train | check (prove the loss on this config and machine) | explain (show what each mode "
        "weighs in a saved iteration) | recipes (list them) | diff (which keys differ) | rerun (a "
        "run once more) | report (compare runs on one page) | plan (whether the memory suffices)",
        Command.train,
        trains=False,
    )
    recipe: str | None = key("written by the recipe group, never by hand", None, trains=False)
    seed: int = key("of prompts, sampling and initialisation", 0)
    iterations: int = key("how often to generate and train", 20, unit="iterations")
    steps_per_iteration: int = key(
        "optimizer steps that share one iteration's prompts", 1, unit="steps"
    )
    incomplete_step: IncompleteStep = key(
        "when the prompts do not split into equal steps: refuse | train (the last step is smaller, "
        "with its own N and P) | drop (what is left over trains nothing)",
        IncompleteStep.refuse,
    )
    max_bad_steps: int = key("stop after so many steps in a row with NaN or inf", 3, unit="steps")
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
    checkpoint: CheckpointConfig = key(
        "when a run is saved, and where it goes on from", trains=False, since="0.3"
    )
    tracking: TrackingConfig = key("chosen by the tracking group", trains=False)
    check: CheckConfig = key("settings of command=check and command=explain", trains=False)
    against: str | None = key(
        "with command=diff: the recipe or run directory to compare with",
        None,
        trains=False,
        since="0.2",
    )
    run: str | None = key(
        "with command=rerun: the run directory to run again; with command=diff: to compare",
        None,
        trains=False,
        since="0.2",
    )
    runs: list[str] = texts(
        "with command=report: run directories, or directories of sweeps", trains=False, since="0.2"
    )
    report: ReportConfig = field(default_factory=ReportConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def problems(self) -> Iterator[str]:
        yield from at_least("iterations", self.iterations, 1)
        yield from at_least("steps_per_iteration", self.steps_per_iteration, 1)
        yield from at_least("max_bad_steps", self.max_bad_steps, 1)
        yield from a_seed("seed", self.seed)
        yield from command_problems(
            self.command, against=self.against, run=self.run, runs=self.runs
        )
        if self.sweep.resume and not self.command.trains:
            yield (
                "sweep.resume=true skips what has been trained before: leave it out with "
                f"command={self.command.name}"
            )
        yield from refused_on_a_shared_cluster(self.loss, self.reward, self.cluster)
        yield from self._nothing_to_save()
        yield from self._sizes_that_do_not_fit()
        yield from self._nothing_to_learn_from()
        yield from self._rollouts_that_do_not_fit()
        yield from self._no_reward_to_pay_from()
        yield from self._warm_up_without_end()
        yield from self._evaluation_beyond_the_run()

    def warnings(self) -> Iterator[str]:
        yield from divisor_below_the_budget(self.loss, self.rollout)
        yield from clip_without_effect(self.loss.objective, self.steps_per_iteration)
        yield from sampled_from_a_part(self.loss, self.rollout)
        yield from idle_workers(self.parallel, self.rollout, self.steps_per_iteration)
        yield from never_evaluated(self.evaluation)
        yield from not_read(self.command, self.check)
        yield from not_planned(self.command, self.plan)

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
        if isinstance(self.rollout.engine, ReplayEngine | Demonstrations):
            return  # the saved rollouts have sizes of their own, demonstrations are imitated
        if self.rollout.samples_per_prompt == 1 and needs_groups(self.advantage):
            yield (
                f"rollout.samples_per_prompt must be at least 2, got 1: "
                f"advantage={self.advantage.name} compares a rollout with the others of its group, "
                f"and in a group of one it is always 0; advantage=reinforce_plus_plus needs no "
                f"group"
            )

    def _no_reward_to_pay_from(self) -> Iterator[str]:
        if not kl_in_reward(self.loss.kl):
            return
        match self.advantage:
            case ConstantAdvantage():
                yield (
                    "loss.kl.place=reward takes the KL off the reward, which advantage=constant "
                    "does not read: write loss.kl.place=loss"
                )
            case ReinforcePlusPlusAdvantage(whitening=Whitening.rollouts):
                yield (
                    "advantage.whitening=rollouts needs one number for each rollout, and "
                    "loss.kl.place=reward gives every token of advantage=reinforce_plus_plus its "
                    "own: write advantage.whitening=tokens"
                )

    def _rollouts_that_do_not_fit(self) -> Iterator[str]:
        rollout, overlong = self.rollout, self.reward.overlong
        if isinstance(rollout.engine, ReplayEngine):
            return  # they were chosen and shaped when they were saved
        yield from demonstration_problems(rollout, overlong, self.loss.objective, self.advantage)
        if not isinstance(rollout.engine, Demonstrations):
            yield from filter_problems(
                rollout, self.advantage, self.steps_per_iteration, self.incomplete_step
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

    def _evaluation_beyond_the_run(self) -> Iterator[str]:
        """The default is for runs of any length; whoever writes another interval expects it."""
        interval = self.evaluation.interval
        if interval > self.iterations >= 1 and interval != default_of(self.evaluation, "interval"):
            yield (
                f"evaluation.interval={interval} is beyond the run, iterations={self.iterations}: "
                f"write less, or evaluation.interval=0 to evaluate before and after it only"
            )

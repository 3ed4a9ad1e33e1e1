"""Everything a run says, in one place: to its files, to the trackers, to the person watching."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from slime.config.schema import TrackingConfig
from slime.data import Group, Rollout
from slime.data.metrics import StepMetrics
from slime.reward import RewardFailure, ScoredGroups
from slime.rollout.generate import Evaluation
from slime.tracking.progress import IterationReport, RunProgress
from slime.tracking.records import RolloutMetrics, Times, flat
from slime.tracking.sinks import JsonLines, build_sinks


@dataclass(frozen=True, slots=True)
class StepNumber:
    """Which optimizer step of which iteration, both counted from 0 over the run."""

    iteration: int
    step: int


class RunLog:
    """Writes metrics.jsonl, samples.jsonl, evaluations.jsonl and the trackers; prints progress.

    agreement: the largest train/rollout_logprob_abs_diff that is no defect.
    """

    def __init__(
        self, config: TrackingConfig, run_directory: Path, iterations: int, agreement: float
    ) -> None:
        self._progress = RunProgress(iterations)
        self._metrics = build_sinks(config, run_directory)
        self._samples = JsonLines(run_directory / "samples.jsonl")
        self._answers = JsonLines(run_directory / "evaluations.jsonl")
        self._samples_per_iteration = config.samples_per_iteration
        self._agreement = agreement
        self._has_warned_of_dropped = False

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()
        self._metrics.close()
        self._samples.close()
        self._answers.close()

    def phase(self, name: str) -> None:
        """What is going on now."""
        self._progress.phase(name)

    def note(self, text: str) -> None:
        """A line for the person watching."""
        self._progress.note(text)

    def warn(self, text: str) -> None:
        """A line that should not be missed."""
        self._progress.warn(text)

    def evaluation(self, iteration: int, evaluation: Evaluation) -> None:
        """Held-out answers of the weights that `iteration` iterations have trained."""
        record = {
            "iteration": iteration,
            "evaluation/reward_mean": evaluation.reward_mean,
            "evaluation/response_tokens_mean": evaluation.response_tokens_mean,
            "evaluation/prompts": len(evaluation.answers),
        }
        self._metrics.write(record, iteration)
        for answer in evaluation.answers:
            self._answers.write({"iteration": iteration, **asdict(answer)}, iteration)
        self._warn_of_failures(evaluation.failures)
        self._progress.note(
            f"held-out greedy reward after {iteration} iterations: {evaluation.reward_mean:.3f}"
            f"  ({len(evaluation.answers)} prompts)"
        )

    def step(self, at: StepNumber, metrics: StepMetrics) -> None:
        """An optimizer step that is not the last of its iteration."""
        self._metrics.write(_step_record(at, metrics), at.iteration)
        self._warn_of(at, metrics)

    def last_step(
        self, at: StepNumber, metrics: StepMetrics, rollout: RolloutMetrics, times: Times
    ) -> None:
        """The step that ends an iteration carries the iteration's own numbers."""
        record = _step_record(at, metrics) | flat("rollout", rollout) | flat("time", times)
        self._metrics.write(record, at.iteration)
        self._warn_of(at, metrics)
        self._warn_once_of_dropped(rollout)
        self._progress.iteration(IterationReport(at.iteration, rollout, metrics, times))

    def samples(self, iteration: int, scored: ScoredGroups) -> None:
        """A few decoded rollouts, and every rollout whose reward failed."""
        failures = {failure.rollout_id: failure.reason for failure in scored.failures}
        shown = {group.rollouts[0].id for group in scored.groups[: self._samples_per_iteration]}
        for group in scored.groups:
            for rollout in group.rollouts:
                if rollout.id in shown or rollout.id in failures:
                    record = _sample_record(iteration, group, rollout, failures.get(rollout.id))
                    self._samples.write(record, iteration)
        self._warn_of_failures(scored.failures)

    def _warn_of_failures(self, failures: Sequence[RewardFailure]) -> None:
        if failures:
            first = failures[0]
            self.warn(
                f"{len(failures)} rewards failed and got reward.failure_value; the first, for the "
                f"response {first.response!r} to {first.prompt!r}: {first.reason}"
            )

    def _warn_once_of_dropped(self, rollout: RolloutMetrics) -> None:
        if rollout.dropped_prompts and not self._has_warned_of_dropped:
            self._has_warned_of_dropped = True
            self.warn(
                f"incomplete_step=drop: {rollout.dropped_prompts} of {rollout.prompts} prompts "
                f"fill no step and train nothing; rollout/dropped_prompts counts them"
            )

    def _warn_of(self, at: StepNumber, metrics: StepMetrics) -> None:
        if metrics.skipped:
            finite = "its loss or gradient is not finite"
            reason = finite if metrics.active_tokens else "no active token"
            self.warn(f"step {at.step} was skipped: {reason}; the weights are unchanged")
        gap = metrics.rollout_logprob_abs_diff
        if gap is not None and gap > self._agreement:
            self.warn(
                f"step {at.step}: engine and trainer give the same tokens log-probs that differ by "
                f"{gap:.2g} on average (more than {self._agreement:g}): what is trained is not "
                "what was sampled"
            )


def _step_record(at: StepNumber, metrics: StepMetrics) -> dict[str, Any]:
    return {"iteration": at.iteration, "step": at.step, **flat("train", metrics)}


def _sample_record(
    iteration: int, group: Group, rollout: Rollout, failure: str | None
) -> dict[str, Any]:
    return {
        "iteration": iteration,
        "prompt_id": group.prompt.id,
        "rollout_id": rollout.id,
        "prompt": group.prompt.text,
        "response": rollout.text,
        "answer": group.prompt.answer,
        "reward": rollout.reward,
        "reward_failure": failure,
        "finish": rollout.finish.value,
    }

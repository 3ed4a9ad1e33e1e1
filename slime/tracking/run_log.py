"""Everything a run says, in one place: to its files, to the trackers, to the person watching."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from slime.config.schema import TrackingConfig
from slime.data import Group, Rollout
from slime.data.metrics import StepMetrics
from slime.reward import RewardFailure
from slime.rollout.generate import Evaluation
from slime.rollout.selection import Selection
from slime.tracking.json_lines import JsonLines
from slime.tracking.past import Past
from slime.tracking.progress import IterationReport, RunProgress
from slime.tracking.records import NOTHING_LOST, Recovery, RolloutMetrics, Times, flat
from slime.tracking.tracker import Guarded, RunState
from slime.tracking.trackers import open_tracker

_NOTHING_ACTIVE = "no active token"
_NOTHING_LEFT = "the rewards of every group are all equal, and rollout/filter left no group"


@dataclass(frozen=True, slots=True)
class StepNumber:
    """Which optimizer step of which iteration, both counted from 0 over the run."""

    iteration: int
    step: int


class RunLog:
    """Writes metrics.jsonl, samples.jsonl, evaluations.jsonl and the trackers; prints progress.

    agreement: the largest train/rollout_logprob_abs_diff that is no defect.
    past: of a run that goes on.
    """

    def __init__(
        self,
        config: TrackingConfig,
        run_directory: Path,
        iterations: int,
        agreement: float,
        past: Past | None = None,
    ) -> None:
        self._progress = RunProgress(iterations, done=past.iteration if past else 0)
        self._metrics = JsonLines(run_directory / "metrics.jsonl", past)
        self._samples = JsonLines(run_directory / "samples.jsonl", past)
        self._answers = JsonLines(run_directory / "evaluations.jsonl", past)
        self._samples_per_iteration = config.samples_per_iteration
        self._agreement = agreement
        self._has_warned_of_dropped = False
        self._has_warned_of_unfilled = False
        self._state: RunState | None = None
        open_chosen = partial(open_tracker, config, run_directory, past)
        self._tracker = Guarded(config.name, open_chosen, warn=self.warn)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        if self._tracker.where:
            self.note(f"metrics: {self._tracker.where}")
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._progress.__exit__()
        self._tracker.close(self._state or _state_after(error))
        self._metrics.close()
        self._samples.close()
        self._answers.close()

    def past(self, iteration: int) -> Past:
        """For a checkpoint: what has been reported after so many iterations, safe on the disk."""
        files = (self._metrics, self._samples, self._answers)
        lengths = {file.name: file.on_disk() for file in files}
        return Past(iteration, lengths, self._tracker.run_id)

    def phase(self, name: str) -> None:
        """What is going on now."""
        self._progress.phase(name)

    def note(self, text: str) -> None:
        """A line for the person watching."""
        self._progress.note(text)

    def warn(self, text: str) -> None:
        """A line that should not be missed."""
        self._progress.warn(text)

    def ended(self, state: RunState) -> None:
        """For a run that stops without an exception, but not as planned."""
        self._state = state

    def evaluation(self, iteration: int, evaluation: Evaluation) -> None:
        """Held-out answers of the weights that `iteration` iterations have trained."""
        record = {
            "iteration": iteration,
            "evaluation/reward_mean": evaluation.reward_mean,
            "evaluation/response_tokens_mean": evaluation.response_tokens_mean,
            "evaluation/prompts": len(evaluation.answers),
        }
        self._write(record, iteration)
        for answer in evaluation.answers:
            self._answers.write({"iteration": iteration, **asdict(answer)})
        self._warn_of_failures(evaluation.failures)
        self._progress.note(
            f"held-out greedy reward after {iteration} iterations: {evaluation.reward_mean:.3f}"
            f"  ({len(evaluation.answers)} prompts)"
        )

    def step(self, at: StepNumber, metrics: StepMetrics) -> None:
        """An optimizer step that is not the last of its iteration."""
        self._write(_step_record(at, metrics), at.iteration)
        self._warn_of(at, metrics, _NOTHING_ACTIVE)

    def last_step(
        self,
        at: StepNumber,
        metrics: StepMetrics,
        rollout: RolloutMetrics,
        times: Times,
        recovery: Recovery = NOTHING_LOST,
    ) -> None:
        """The step that ends an iteration carries the iteration's own numbers."""
        of_step = _step_record(at, metrics)
        of_iteration = flat("rollout", rollout) | flat("time", times) | flat("recovery", recovery)
        self._write(of_step | of_iteration, at.iteration)
        left = rollout.prompts - rollout.filtered_prompts
        self._warn_of(at, metrics, _NOTHING_ACTIVE if left else _NOTHING_LEFT)
        self._warn_once_of_dropped(rollout)
        self._warn_once_of_unfilled(rollout)
        self._progress.iteration(IterationReport(at.iteration, rollout, metrics, times))

    def samples(self, iteration: int, selection: Selection) -> None:
        """A few decoded rollouts, and every rollout whose reward failed."""
        failures = {failure.rollout_id: failure.reason for failure in selection.failures}
        trained = {group.prompt.id for group in selection.trained}
        groups = selection.generated
        shown = {group.rollouts[0].id for group in groups[: self._samples_per_iteration]}
        for group in groups:
            for rollout in group.rollouts:
                if rollout.id in shown or rollout.id in failures:
                    record = {
                        "iteration": iteration,
                        **_sample_record(group, rollout),
                        "reward_failure": failures.get(rollout.id),
                        "trained": group.prompt.id in trained,
                    }
                    self._samples.write(record)
        self._warn_of_failures(selection.failures)

    def _write(self, record: dict[str, Any], iteration: int) -> None:
        self._metrics.write(record)
        self._tracker.write(record, iteration)

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

    def _warn_once_of_unfilled(self, rollout: RolloutMetrics) -> None:
        if rollout.unfilled_prompts and not self._has_warned_of_unfilled:
            self._has_warned_of_unfilled = True
            self.warn(
                f"rollout/filter=dynamic: after {rollout.rounds} rounds (rollout.filter.max_rounds)"
                f" {rollout.unfilled_prompts} prompts were still missing, and groups whose rewards "
                f"are all equal fill their places; rollout/unfilled_prompts counts them"
            )

    def _warn_of(self, at: StepNumber, metrics: StepMetrics, why_nothing: str) -> None:
        if metrics.skipped:
            finite = "its loss or gradient is not finite"
            reason = finite if metrics.active_tokens else why_nothing
            self.warn(f"step {at.step} was skipped: {reason}; the weights are unchanged")
        gap = metrics.rollout_logprob_abs_diff
        if gap is not None and gap > self._agreement:
            self.warn(
                f"step {at.step}: engine and trainer give the same tokens log-probs that differ by "
                f"{gap:.2g} on average (more than {self._agreement:g}): what is trained is not "
                "what was sampled"
            )


def _state_after(error: type[BaseException] | None) -> RunState:
    if error is None:
        return RunState.finished
    is_interrupt = issubclass(error, KeyboardInterrupt)
    return RunState.interrupted if is_interrupt else RunState.failed


def _step_record(at: StepNumber, metrics: StepMetrics) -> dict[str, Any]:
    return {"iteration": at.iteration, "step": at.step, **flat("train", metrics)}


def _sample_record(group: Group, rollout: Rollout) -> dict[str, Any]:
    return {
        "prompt_id": group.prompt.id,
        "rollout_id": rollout.id,
        "prompt": group.prompt.text,
        "response": rollout.text,
        "answer": group.prompt.answer,
        "reward": rollout.reward,
        "shaping": rollout.shaping,
        "finish": rollout.finish.value,
    }

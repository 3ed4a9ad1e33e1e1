"""Rewards for whole groups, from a process that may hang or die without harm to the run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from slime.config.schema import RewardConfig
from slime.config.schema.imported import describe
from slime.reward.build import build_reward, reward_path
from slime.reward.process import Failure, Score, ScoringLostError, ScoringProcess, ScoringStartError

if TYPE_CHECKING:  # torch; the scoring process imports this package and must start fast
    from slime.data import Group, Rollout


@dataclass(frozen=True, slots=True)
class RewardFailure:
    """A rollout whose scoring failed, and got reward.failure_value."""

    rollout_id: int
    prompt: str
    response: str
    answer: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ScoredGroups:
    """Groups with a reward on every rollout."""

    groups: "tuple[Group, ...]"
    failures: tuple[RewardFailure, ...]


class Scorer:
    """Scores rollouts one after the other in one child process, started when entered.

    A function that raises, returns no finite number, takes longer than reward.timeout_seconds or
    kills its process costs that one rollout its reward, nothing else.  A process that started once
    and cannot start again costs the rollouts that wait for it theirs; the next call tries anew.
    """

    def __init__(self, config: RewardConfig) -> None:
        """Raises ConfigError when a user's function cannot be used."""
        build_reward(config)
        self._config = config
        self._path = reward_path(config)
        self._process: ScoringProcess | None = None
        self._has_started = False

    def __enter__(self) -> Self:
        self._process = ScoringProcess(self._path, self._config.max_memory_gib)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill()

    def score(self, groups: "Sequence[Group]") -> ScoredGroups:
        """The same groups in the same order, every rollout with its reward.

        Raises ScoringStartError when the scoring process never started.
        """
        pairs = [(r.text, group.prompt.answer) for group in groups for r in group.rollouts]
        results = iter(self._results(pairs))
        failures: list[RewardFailure] = []

        def scored(group: "Group", rollout: "Rollout") -> "Rollout":
            result = next(results)
            if isinstance(result, Score):
                return replace(rollout, reward=result.reward)
            prompt = group.prompt
            failures.append(
                RewardFailure(rollout.id, prompt.text, rollout.text, prompt.answer, result.reason)
            )
            return replace(rollout, reward=self._config.failure_value)

        return ScoredGroups(
            tuple(replace(g, rollouts=tuple(scored(g, r) for r in g.rollouts)) for g in groups),
            tuple(failures),
        )

    def _results(self, pairs: Sequence[tuple[str, str]]) -> list[Score | Failure]:
        results: list[Score | Failure] = []
        while len(results) < len(pairs):
            try:
                process = self._asked(pairs[len(results) :])
                while len(results) < len(pairs):
                    results.append(process.result(self._config.timeout_seconds))
            except ScoringLostError as lost:  # the others are asked for again, of a new process
                results.append(Failure(str(lost)))
                self._kill()
            except ConnectionError:  # it had died before it was asked: nobody's fault
                self._kill()
            except (ScoringStartError, OSError) as failed:
                self._kill()
                if not self._has_started:
                    raise
                results += [Failure(describe(failed))] * (len(pairs) - len(results))
        return results

    def _asked(self, pairs: Sequence[tuple[str, str]]) -> ScoringProcess:
        """The process, started if there is none, and about to answer these pairs."""
        process = self._process = self._process or ScoringProcess(
            self._path, self._config.max_memory_gib
        )
        process.send(pairs)
        self._has_started = True
        return process

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

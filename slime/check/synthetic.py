"""A step made of everything that is hard: what a loss gets wrong, it gets wrong here.

Ragged responses, one-token ones among them; rollouts that fan out into several samples, prompts
with different numbers of rollouts, a group of equal rewards, rollouts and a whole prompt without an
active token, turns of a conversation (zeros inside the mask), truncated and aborted rollouts, and
one sample as long as a micro-batch may be.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slime.config.schema import ConfigError, ParallelConfig
from slime.data import Finish, Group, Prompt, Rollout, Sample

LONGEST = 192  # tokens; longer ones prove nothing more and take longer
PROMPT_TOKENS = 12

TRUNCATED_SHAPING = -0.25
EQUAL_REWARD = 0.1  # the mean of several is not 0.1 in floating point

# Kinds of rollouts, a line for each prompt.
_GROUPS = (
    ("plain", "one token", "fan-out", "turns", "truncated", "plain"),
    ("plain", "turns", "plain"),
    ("plain", "empty", "truncated", "aborted", "plain", "one token", "partly empty", "turns"),
    ("longest", "one token"),
    ("empty", "empty"),
    ("plain",),
    ("one token", "one token", "plain", "plain"),
    ("fan-out", "turns", "plain", "aborted", "plain"),
)
_UNANIMOUS = 1  # number of the group whose rewards are equal


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the step has to fit."""

    tokens: int  # of the longest sample
    vocabulary: int

    @classmethod
    def fitting(cls, parallel: ParallelConfig, positions: int, vocabulary: int) -> "Sizes":
        """Raises ConfigError when not even two tokens fit: one of a prompt, one of a response."""
        tokens = min(LONGEST, positions)
        if parallel.microbatches is None:  # else the bound is not in force
            unit = parallel.sequence_multiple
            tokens = min(tokens, parallel.max_tokens_per_microbatch // unit * unit)
        if tokens < 2:
            raise ConfigError(
                f"parallel.max_tokens_per_microbatch={parallel.max_tokens_per_microbatch} has no "
                f"room for a prompt and a response: write {parallel.padded(2)} or more"
            )
        return cls(tokens, vocabulary)


def draw_groups(steps: int, sizes: Sizes, seed: int) -> list[Group]:
    """The prompts of `steps` optimizer steps.  Their rollout log-probs are still 0."""
    draw = _Draw(sizes, torch.Generator().manual_seed(seed))
    return [draw.group(number, kinds) for _ in range(steps) for number, kinds in enumerate(_GROUPS)]


def _shaping(finish: Finish) -> float:
    return TRUNCATED_SHAPING if finish is Finish.length else 0.0


class _Draw:
    """Ids rise from one group to the next, with gaps."""

    def __init__(self, sizes: Sizes, random: torch.Generator) -> None:
        self._sizes = sizes
        self._random = random
        self._prompt_id = self._rollout_id = 0

    def group(self, number: int, kinds: tuple[str, ...]) -> Group:
        self._prompt_id += 7
        rollouts = tuple(self._rollout(kind) for kind in kinds)
        if number == _UNANIMOUS:
            rewards = [EQUAL_REWARD] * len(kinds)
        else:  # the first differs from the second
            rewards = [1.0, 0.0, *(self._below(5) / 4 for _ in kinds[2:])][: len(kinds)]
        prompt = Prompt(self._prompt_id, f"synthetic prompt {self._prompt_id}", "")
        return Group(
            prompt,
            tuple(
                replace(r, reward=reward, shaping=_shaping(r.finish))
                for r, reward in zip(rollouts, rewards, strict=True)
            ),
        )

    def _rollout(self, kind: str) -> Rollout:
        self._rollout_id += 3
        finish = {"truncated": Finish.length, "longest": Finish.length, "aborted": Finish.aborted}
        samples = tuple(self._sample(mask_R, kind) for mask_R in self._masks(kind))
        return Rollout(
            self._rollout_id, self._prompt_id, samples, kind, finish.get(kind, Finish.stop)
        )

    def _masks(self, kind: str) -> Iterator[Tensor]:
        """The loss mask of each of the rollout's samples."""
        match kind:
            case "one token":
                yield torch.ones(1, dtype=torch.bool)
            case "fan-out":
                for _ in range(2 + self._below(2)):
                    yield self._turns(self._length())
            case "partly empty":
                yield torch.zeros(self._length(), dtype=torch.bool)
                yield torch.ones(self._length(), dtype=torch.bool)
            case "empty":
                yield torch.zeros(self._length(), dtype=torch.bool)
            case "turns":
                yield self._turns(self._length())
            case "longest":
                yield torch.ones(max(self._sizes.tokens - PROMPT_TOKENS, 1), dtype=torch.bool)
            case _:
                yield torch.ones(self._length(), dtype=torch.bool)

    def _turns(self, length: int) -> Tensor:
        """Active at both ends, with a masked turn of another speaker between them."""
        mask_R = torch.ones(length, dtype=torch.bool)
        start = length // 3
        mask_R[start : start + max(length // 4, 1)] = length < 3
        return mask_R

    def _length(self) -> int:
        """Short ones are as frequent as long ones: uniform in its logarithm."""
        longest = max(self._sizes.tokens // 3, 1)
        share = torch.rand((), generator=self._random, dtype=torch.float64).item()
        return min(int((longest + 1) ** share), longest)

    def _sample(self, mask_R: Tensor, kind: str) -> Sample:
        room = max(self._sizes.tokens - len(mask_R), 1)
        most = min(room, PROMPT_TOKENS)
        prompt = most if kind == "longest" else 1 + self._below(most)
        return Sample(
            prompt_id=self._prompt_id,
            rollout_id=self._rollout_id,
            prompt_tokens_P=self._tokens(prompt),
            response_tokens_R=self._tokens(len(mask_R)),
            loss_mask_R=mask_R,
            rollout_log_probs_R=torch.zeros(len(mask_R)),
        )

    def _tokens(self, count: int) -> Tensor:
        return torch.randint(self._sizes.vocabulary, (count,), generator=self._random)

    def _below(self, bound: int) -> int:
        return int(torch.randint(bound, (), generator=self._random))

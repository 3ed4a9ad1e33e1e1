"""Prompts and what was generated from them."""

from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Finish(Enum):
    """Why a rollout ended."""

    stop = "stop"  # an end or stop token
    length = "length"  # the token budget
    aborted = "aborted"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question, its id (unique in a run) and what its answer is judged against."""

    id: int
    text: str
    answer: str


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One token sequence: P prompt tokens, then R response tokens."""

    prompt_id: int | None
    rollout_id: int
    prompt_tokens_P: Tensor  # int64
    response_tokens_R: Tensor  # int64
    loss_mask_R: Tensor  # bool; True: an active token
    rollout_log_probs_R: Tensor  # float32, behaviour log-probs of the response tokens

    @property
    def tokens(self) -> int:
        return len(self.prompt_tokens_P) + len(self.response_tokens_R)

    @property
    def active_tokens(self) -> int:
        return int(self.loss_mask_R.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One trajectory from a prompt: usually one sample, several if it fans out."""

    id: int
    prompt_id: int
    samples: tuple[Sample, ...]
    text: str  # the decoded response, without end and stop tokens
    finish: Finish
    reward: float | None = None  # of the task, as it was scored; None until then
    shaping: float = 0.0  # what advantages add to the reward, and nothing else does


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """All rollouts of one prompt."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]

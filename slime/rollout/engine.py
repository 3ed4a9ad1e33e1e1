"""What every rollout engine does, whichever library runs behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from slime.config.schema import Precision
from slime.data import Finish


@dataclass(frozen=True, slots=True)
class Sampling:
    """How next tokens are chosen.  temperature 0 is greedy."""

    temperature: float
    top_p: float
    max_response_tokens: int
    stop_token_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Request:
    """One rollout to generate.  The same request on the same weights gives the same tokens."""

    prompt_tokens: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """The response, its stop token included, with log-probs under the sampling distribution."""

    tokens_R: Tensor  # int64
    log_probs_R: Tensor  # float32
    finish: Finish


class Engine(Protocol):
    """A plain class; a Ray actor may stand in front of it."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """One Generation per request, in order."""
        ...

    def logits(self, sequences: Sequence[Sequence[int]], precision: Precision) -> list[Tensor]:
        """What follows each token under the current weights, computed in `precision`.

        -> per sequence, [T, V] float32
        """
        ...

    def load_weights(self, shards: Sequence[bytes]) -> None:
        """Replace the weights by safetensors-encoded tensors under Hugging Face names."""
        ...

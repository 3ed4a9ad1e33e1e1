"""What every task does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # torch; the check of a task file before a run must not wait for it
    from slime.data import Prompt

# {"role", "content"} messages -> the text that the model is given
RenderChat = Callable[[Sequence[Mapping[str, str]]], str]

# Ids of held-out prompts start here, out of the way of any number of training prompts.
HELD_OUT_IDS = 1 << 40


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the response that a model should learn to give, word for word."""

    prompt: "Prompt"
    response: str
    where: str  # what to begin a message about it with: config key, file and line


class Task(Protocol):
    """Prompts to train on, and others to judge by, which are never trained on."""

    def prompts(self, draw: int, count: int) -> "list[Prompt]":
        """The next prompts: the same for the same seed; ids are unique in a run.

        draw: how many draws came before this one in the run.  `count` must be the same in every
        draw of a run.
        """
        ...

    def demonstrations(self, draw: int, count: int) -> list[Demonstration]:
        """The same prompts, each with the response it should get."""
        ...

    def held_out(self, count: int) -> "list[Prompt]":
        """Up to `count` prompts that `prompts` never yields, the same ones for every seed."""
        ...

    def longest(self) -> "Iterator[Prompt]":
        """Prompts among which the longest one of this task is."""
        ...

    def longest_demonstrations(self) -> Iterator[Demonstration]:
        """Demonstrations among which the longest response of this task is."""
        ...

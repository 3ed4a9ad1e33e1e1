"""What every task does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # torch; the check of a task file before a run must not wait for it
    from slime.data import Prompt

# {"role", "content"} messages -> the text that the model is given
RenderChat = Callable[[Sequence[Mapping[str, str]]], str]

# Ids of held-out prompts start here, out of the way of any number of training prompts.
HELD_OUT_IDS = 1 << 40


class Task(Protocol):
    """Prompts to train on, and others to judge by, which are never trained on."""

    def prompts(self, iteration: int, count: int) -> "list[Prompt]":
        """The iteration's prompts: the same for the same seed; ids are unique in a run.

        `count` must be the same in every iteration of a run.
        """
        ...

    def held_out(self, count: int) -> "list[Prompt]":
        """Up to `count` prompts that `prompts` never yields, the same ones for every seed."""
        ...

    def longest(self) -> "Iterator[Prompt]":
        """Prompts among which the longest one of this task is."""
        ...

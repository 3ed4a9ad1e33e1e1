"""Prompts from a JSONL file, in an order drawn from the seed, each once an epoch."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random

from slime.config.schema import ConfigError, JsonlTask
from slime.data import Prompt
from slime.task.check import HELD_OUT_EVERY, accept, problems
from slime.task.lines import Example, read_examples
from slime.task.protocol import HELD_OUT_IDS, Demonstration, RenderChat, Task


class Jsonl(Task):
    """Held out: the evaluation file, or every tenth line; what equals a held-out prompt is never
    trained on.
    """

    def __init__(self, config: JsonlTask, seed: int, render_chat: RenderChat) -> None:
        found = list(problems(config, accept))
        if found:
            raise ConfigError("\n".join(found))
        self._seed = seed
        self._render_chat = render_chat
        self._train, self._held_out = _split(config)
        if not self._train:
            raise ConfigError(
                f"task.path: every prompt of {config.path} is held out too; nothing is left to "
                f"train on"
            )

    def prompts(self, draw: int, count: int) -> list[Prompt]:
        return [self._prompt(i, self._drawn(i)) for i in _places(draw, count)]

    def demonstrations(self, draw: int, count: int) -> list[Demonstration]:
        return [self._demonstration(i, self._drawn(i)) for i in _places(draw, count)]

    def held_out(self, count: int) -> list[Prompt]:
        """The first `count` held-out lines, or all of them if there are fewer."""
        return [self._prompt(HELD_OUT_IDS + i, e) for i, e in enumerate(self._held_out[:count])]

    def longest(self) -> Iterator[Prompt]:
        for example in (*self._train, *self._held_out):
            yield self._prompt(0, example)

    def longest_demonstrations(self) -> Iterator[Demonstration]:
        for example in self._train:
            yield self._demonstration(0, example)

    def _drawn(self, place: int) -> Example:
        """The `place`-th example of the run."""
        epoch, within = divmod(place, len(self._train))
        return self._train[_order(len(self._train), self._seed, epoch)[within]]

    def _demonstration(self, prompt_id: int, example: Example) -> Demonstration:
        """What the line says to respond, else its bare answer."""
        response = example.answer if example.response is None else example.response
        return Demonstration(self._prompt(prompt_id, example), response, example.where)

    def _prompt(self, prompt_id: int, example: Example) -> Prompt:
        prompt = example.prompt
        text = prompt if isinstance(prompt, str) else self._render_chat(prompt)
        if not text:
            raise ConfigError(
                f"{example.where} the model's chat template makes an empty text of the messages"
            )
        return Prompt(prompt_id, text, example.answer)


def _places(draw: int, count: int) -> range:
    """Where in the run the examples of a draw stand."""
    return range(draw * count, (draw + 1) * count)


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> Sequence[int]:
    order = list(range(size))
    Random(f"order {seed} {epoch}").shuffle(order)
    return order


def _split(config: JsonlTask) -> tuple[list[Example], list[Example]]:
    """-> training and held-out examples."""
    examples = list(read_examples("task.path", Path(config.path).expanduser()))
    if config.evaluation_path is not None:
        path = Path(config.evaluation_path).expanduser()
        held_out = list(read_examples("task.evaluation_path", path))
    else:
        held_out = examples[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    known = [example.prompt for example in held_out]
    seen = {repr(prompt) for prompt in known}
    return [example for example in examples if repr(example.prompt) not in seen], held_out

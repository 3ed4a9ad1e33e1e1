"""a + b, a - b (never negative) and a * b, drawn from the seed."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from slime.config.schema import ArithmeticTask
from slime.data import Prompt
from slime.task.protocol import HELD_OUT_IDS, Demonstration, Task

_OPERATIONS = ("+", "-", "*")


@dataclass(frozen=True, slots=True)
class Question:
    """One calculation."""

    left: int
    operation: str
    right: int

    @property
    def text(self) -> str:
        return f"{self.left} {self.operation} {self.right}"

    @property
    def answer(self) -> str:
        match self.operation:
            case "+":
                return str(self.left + self.right)
            case "-":
                return str(self.left - self.right)
            case _:
                return str(self.left * self.right)


def is_held_out(question: Question) -> bool:
    """A tenth of all questions, by their text alone: the same ones in every run, whatever its seed
    and sizes.
    """
    return zlib.crc32(question.text.encode()) % 10 == 0


class Arithmetic(Task):
    """Operations are equally frequent; terms are uniform."""

    def __init__(self, config: ArithmeticTask, seed: int) -> None:
        self._config = config
        self._seed = seed

    def prompts(self, draw: int, count: int) -> list[Prompt]:
        random = Random(f"prompts {self._seed} {draw}")
        return [
            self._prompt(draw * count + place, self._draw(random, held_out=False))
            for place in range(count)
        ]

    def demonstrations(self, draw: int, count: int) -> list[Demonstration]:
        return [self._demonstration(prompt) for prompt in self.prompts(draw, count)]

    def held_out(self, count: int) -> list[Prompt]:
        """Distinct questions; fewer than `count` where the sizes of numbers allow no more."""
        random = Random("held out")
        questions: dict[Question, None] = {}
        for _ in range(count * 100):
            if len(questions) == count:
                break
            questions[self._draw(random, held_out=True)] = None
        return [self._prompt(HELD_OUT_IDS + place, q) for place, q in enumerate(questions)]

    def longest(self) -> Iterator[Prompt]:
        term, factor = self._config.max_term, self._config.max_factor
        for question in (
            Question(term, "+", term),
            Question(term, "-", term),
            Question(factor, "*", factor),
        ):
            yield self._prompt(0, question)

    def longest_demonstrations(self) -> Iterator[Demonstration]:
        return (self._demonstration(prompt) for prompt in self.longest())

    def _demonstration(self, prompt: Prompt) -> Demonstration:
        """The answer, set off by a space where the prompt does not end with one."""
        space = "" if prompt.text[-1].isspace() else " "
        return Demonstration(prompt, f"{space}{prompt.answer}", "task=arithmetic:")

    def _prompt(self, prompt_id: int, question: Question) -> Prompt:
        text = self._config.template.replace("{question}", question.text)
        return Prompt(prompt_id, text, question.answer)

    def _draw(self, random: Random, held_out: bool) -> Question:
        """Ends: even numbers up to 1 leave questions on both sides."""
        while True:
            question = self._any_question(random)
            if is_held_out(question) == held_out:
                return question

    def _any_question(self, random: Random) -> Question:
        operation = random.choice(_OPERATIONS)
        largest = self._config.max_factor if operation == "*" else self._config.max_term
        left, right = random.randint(0, largest), random.randint(0, largest)
        if operation == "-" and right > left:
            left, right = right, left
        return Question(left, operation, right)

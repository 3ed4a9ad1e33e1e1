"""What is generated, from what, and how it is judged: task, reward, rollout, engine."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import (
    MISSING,
    Node,
    at_least,
    at_most,
    between,
    data,
    key,
    node_of,
    not_empty,
    not_negative,
    positive,
    texts,
)
from slime.config.schema.imported import path_problems
from slime.config.schema.overlong import OverlongConfig
from slime.config.schema.rollout_filter import FilterConfig

_STOP_TOKENS = (
    "texts that end an answer beside the model's own end token; each must be a single token"
)


@dataclass(slots=True, kw_only=True)
class TaskConfig(Node):
    """Where prompts and answers come from."""

    name: str = MISSING
    stop_tokens: list[str] = texts(_STOP_TOKENS)

    def problems(self) -> Iterator[str]:
        if "" in self.stop_tokens:
            yield "task.stop_tokens must not hold an empty text"


@dataclass(slots=True, kw_only=True)
class ArithmeticTask(TaskConfig):
    """a + b, a - b, a * b, drawn from the seed."""

    name: str = "arithmetic"
    template: str = key(
        "the prompt; {question} is replaced by e.g. 27 + 14",
        "Question: What is {question}?\nAnswer:",
    )
    max_term: int = key("largest number in + and -", 49)
    max_factor: int = key("largest number in *", 9)
    stop_tokens: list[str] = texts(_STOP_TOKENS, "\n")

    def problems(self) -> Iterator[str]:
        yield from TaskConfig.problems(self)
        yield from at_least("task.max_term", self.max_term, 1)
        yield from at_least("task.max_factor", self.max_factor, 1)
        if "{question}" not in self.template:
            yield "task.template must contain {question}"


@dataclass(slots=True, kw_only=True)
class JsonlTask(TaskConfig):
    """A file with one {"prompt", "answer"} or {"messages", "answer"} object a line."""

    name: str = "jsonl"
    path: str = data("the training file")
    evaluation_path: str | None = data(
        "the held-out file (null: every tenth line of task.path is held out)", None
    )

    def problems(self) -> Iterator[str]:
        yield from TaskConfig.problems(self)
        yield from not_empty("task.path", self.path)
        yield from not_empty("task.evaluation_path", self.evaluation_path)

    def warnings(self) -> Iterator[str]:
        if self.path == self.evaluation_path:
            yield (
                f"task.evaluation_path={self.path} is the training file: what is evaluated was "
                f"trained on; null holds every tenth line out"
            )


@dataclass(slots=True, kw_only=True)
class RewardConfig(Node):
    """How a finished rollout is scored."""

    name: str = MISSING
    failure_value: float = key("the reward of a rollout whose scoring raised or timed out", 0.0)
    timeout_seconds: float = key("how long scoring one rollout may take", 5.0, unit="seconds")
    max_memory_gib: float = key(
        "memory that scoring may take, beyond what its process starts with",
        4.0,
        trains=False,
        unit="GiB",
        since="0.3",
    )
    overlong: OverlongConfig = node_of(
        "chosen by the reward/overlong group", OverlongConfig, since="0.2"
    )

    def problems(self) -> Iterator[str]:
        yield from positive("reward.timeout_seconds", self.timeout_seconds)
        yield from positive("reward.max_memory_gib", self.max_memory_gib)
        yield from at_most("reward.timeout_seconds", self.timeout_seconds, 1e6)  # 11 days
        yield from at_most("reward.max_memory_gib", self.max_memory_gib, 1e6)
        if self.failure_value != self.failure_value or abs(self.failure_value) == float("inf"):
            yield f"reward.failure_value must be a finite number, got {self.failure_value}"


@dataclass(slots=True, kw_only=True)
class FirstNumberReward(RewardConfig):
    """1 if the first number in the response is the answer, else 0."""

    name: str = "first_number"


@dataclass(slots=True, kw_only=True)
class LastNumberReward(RewardConfig):
    """1 if the last number in the response is the answer, else 0."""

    name: str = "last_number"


@dataclass(slots=True, kw_only=True)
class ExactMatchReward(RewardConfig):
    """1 if the response, stripped of outer white space, is the answer, else 0."""

    name: str = "exact_match"


@dataclass(slots=True, kw_only=True)
class FunctionReward(RewardConfig):
    """Your own function (response: str, answer: str) -> float, named on the command line."""

    name: str = "function"
    function: str = key("package.module:name")

    def problems(self) -> Iterator[str]:
        yield from RewardConfig.problems(self)  # zero-argument super() breaks under slots=True
        yield from path_problems("reward.function", self.function)


@dataclass(slots=True, kw_only=True)
class EngineConfig(Node):
    """What generates."""

    name: str = MISSING


@dataclass(slots=True, kw_only=True)
class LocalEngine(EngineConfig):
    """Hugging Face transformers in a Ray actor; the weights are pushed from the trainer."""

    name: str = "local"
    batch_size: int = key("most rollouts generated at once", 256, trains=False, unit="rollouts")

    def problems(self) -> Iterator[str]:
        yield from at_least("rollout.engine.batch_size", self.batch_size, 1)


@dataclass(slots=True, kw_only=True)
class Demonstrations(LocalEngine):
    """Nothing is sampled: the task's own answers are trained on; evaluation is as under local."""

    name: str = "demonstrations"


@dataclass(slots=True, kw_only=True)
class ReplayEngine(EngineConfig):
    """Iterations that rollout.save wrote; nothing is generated."""

    name: str = "replay"
    path: str = data("a folder that rollout.save wrote; iteration i trains on its i-th iteration")

    def problems(self) -> Iterator[str]:
        yield from not_empty("rollout.engine.path", self.path)


@dataclass(slots=True, kw_only=True)
class RolloutConfig(Node):
    """One iteration's sampling."""

    prompts_per_iteration: int = key("prompts drawn per iteration", 32, unit="prompts")
    samples_per_prompt: int = key("rollouts per prompt: the size of a group", 8, unit="rollouts")
    max_prompt_tokens: int = key(
        "a longer prompt is an error, never cut", 256, trains=False, unit="tokens"
    )
    max_response_tokens: int = key("a rollout ends here at the latest", 8, unit="tokens")
    temperature: float = key("of the sampling distribution, in rollouts and in the loss", 1.0)
    top_p: float = key("nucleus sampling (1: off)", 1.0)
    save: str | None = key("write every iteration's rollouts into this folder", None, trains=False)
    engine: EngineConfig = key("what generates, chosen by the rollout/engine group")
    filter: FilterConfig = node_of("chosen by the rollout/filter group", FilterConfig, since="0.2")

    def problems(self) -> Iterator[str]:
        yield from at_least("rollout.prompts_per_iteration", self.prompts_per_iteration, 1)
        yield from at_least("rollout.samples_per_prompt", self.samples_per_prompt, 1)
        yield from at_least("rollout.max_prompt_tokens", self.max_prompt_tokens, 1)
        yield from at_least("rollout.max_response_tokens", self.max_response_tokens, 1)
        yield from between("rollout.temperature", self.temperature, 1e-3, 1e3)
        yield from between("rollout.top_p", self.top_p, 0, 1)
        yield from not_empty("rollout.save", self.save)


@dataclass(slots=True, kw_only=True)
class EvaluationConfig(Node):
    """Greedy answers to held-out prompts, before, during and after training."""

    prompts: int = key(
        "held-out prompts answered (0: no evaluation)", 96, trains=False, unit="prompts"
    )
    interval: int = key(
        "also evaluate every so many iterations (0: before and after only)",
        5,
        trains=False,
        unit="iterations",
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative("evaluation.prompts", self.prompts)
        yield from not_negative("evaluation.interval", self.interval)

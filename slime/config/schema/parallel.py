"""How a step is laid out over workers and in memory.  None of it changes the loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from slime.config.schema.base import Node, at_least, default_of, key


class Layout(Enum):
    """How the sequences of a micro-batch lie in memory."""

    thd = "thd"
    bshd = "bshd"


class Precision(Enum):
    """Of parameters and activations; auto is bfloat16 on a GPU and float32 on a CPU."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


@dataclass(slots=True, kw_only=True)
class ParallelConfig(Node):
    """How a step is laid out over workers: data x context x tensor x pipeline of them."""

    data: int = key(
        "groups of workers that share each step, a part each",
        1,
        trains=False,
        unit="groups of workers",
    )
    context: int = key("workers that share each sequence", 1, trains=False, unit="workers")
    tensor: int = key("workers that share each layer", 1, trains=False, unit="workers")
    pipeline: int = key(
        "workers that each hold some of the layers", 1, trains=False, unit="workers"
    )
    expert: int = key(
        "of the data x context workers, how many share the experts of a mixture, some each",
        1,
        trains=False,
        unit="workers",
        since="0.3",
    )
    sequence: bool = key(
        "with parallel.tensor > 1: also share what lies between the layers' products (sequence "
        "parallelism)",
        True,
        trains=False,
    )
    layout: Layout = key(
        "of a micro-batch: thd (packed end to end) | bshd (padded to the longest)",
        Layout.thd,
        trains=False,
    )
    max_tokens_per_microbatch: int = key(
        "bound on the tokens of one forward/backward, padding included; context-parallel workers "
        "share them",
        1024,
        trains=False,
        unit="tokens",
    )
    microbatches: int | None = key(
        "split each data-parallel share into this many micro-batches (null: as few as "
        "parallel.max_tokens_per_microbatch allows)",
        None,
        trains=False,
        unit="micro-batches",
    )
    distributed_optimizer: bool = key(
        "keep each part of the optimizer state on one data- or context-parallel worker only",
        False,
        trains=False,
    )
    precision: Precision = key("auto | float32 | bfloat16", Precision.auto)

    @property
    def sequence_multiple(self) -> int:
        """What the padded length of every sequence is a multiple of.

        Context parallelism cuts every sequence into 2 * context chunks; sequence parallelism
        divides what is left of it over the tensor-parallel workers.
        """
        chunks = 2 * self.context if self.context > 1 else 1
        return chunks * (self.tensor if self.sequence else 1)

    def padded(self, tokens: int) -> int:
        """The length of a sequence of so many tokens."""
        return -(-tokens // self.sequence_multiple) * self.sequence_multiple

    @property
    def experts_span_shares(self) -> bool:
        """Whether workers of different data-parallel shares send tokens to each other's experts."""
        return self.expert > 1 and self.context % self.expert > 0

    @property
    def workers(self) -> int:
        return self.data * self.context * self.tensor * self.pipeline

    def problems(self) -> Iterator[str]:
        sizes = ("data", "context", "tensor", "pipeline", "expert")
        for name in sizes:
            yield from at_least(f"parallel.{name}", getattr(self, name), 1)
        sharing = self.data * self.context
        if min(getattr(self, name) for name in sizes) >= 1 and sharing % self.expert:
            yield (
                f"parallel.expert={self.expert} must divide parallel.data x parallel.context = "
                f"{sharing}: the experts are shared among these workers, which are there anyway"
            )
        yield from at_least("parallel.max_tokens_per_microbatch", self.max_tokens_per_microbatch, 1)
        if self.microbatches is not None:
            yield from at_least("parallel.microbatches", self.microbatches, 1)

    def warnings(self) -> Iterator[str]:
        bound = self.max_tokens_per_microbatch
        if self.microbatches is not None and bound != default_of(self, "max_tokens_per_microbatch"):
            yield (
                f"parallel.max_tokens_per_microbatch={bound} bounds nothing: "
                f"parallel.microbatches={self.microbatches} says how many there are"
            )

"""Settings of the commands that examine the loss: check and explain."""

from collections.abc import Iterator
from dataclasses import dataclass

from slime.config.schema.base import Node, a_seed, at_least, key, not_empty


@dataclass(slots=True, kw_only=True)
class CheckConfig(Node):
    """What command=check and command=explain look at."""

    shrink: bool = key(
        "check a small random model of the same architecture instead of the model itself",
        True,
        trains=False,
    )
    replay: str | None = key(
        "a folder that rollout.save wrote (null: a synthetic step of everything that is hard)",
        None,
        trains=False,
    )
    iteration: int = key("which saved iteration", 0, trains=False)
    seed: int = key("of the synthetic step and the small model", 0, trains=False)

    def problems(self) -> Iterator[str]:
        yield from not_empty("check.replay", self.replay)
        yield from at_least("check.iteration", self.iteration, 0)
        yield from a_seed("check.seed", self.seed)

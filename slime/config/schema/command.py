"""What launch.py is asked to do, and with which recipes and run directories."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from slime.config.schema.base import Node, at_least, key, not_empty, positive


class Command(Enum):
    """What launch.py does with the config."""

    train = "train"
    check = "check"
    explain = "explain"
    recipes = "recipes"
    diff = "diff"
    rerun = "rerun"
    report = "report"
    plan = "plan"

    @property
    def trains(self) -> bool:
        """Whether it leaves a trained model."""
        return self in (Command.train, Command.rerun)

    @property
    def only_reads(self) -> bool:
        """Whether it starts no run: no run directory, and no sweep."""
        return self in (Command.recipes, Command.diff, Command.report, Command.plan)


@dataclass(slots=True, kw_only=True)
class ReportConfig(Node):
    """Where command=report writes."""

    folder: str | None = key(
        "where the page and its pictures go (null: report/ in the first of runs)",
        None,
        trains=False,
        since="0.2",
    )

    def problems(self) -> Iterator[str]:
        yield from not_empty("report.folder", self.folder)


@dataclass(slots=True, kw_only=True)
class PlanConfig(Node):
    """The machines that command=plan plans for; what is null is taken from this one."""

    gpus: int | None = key("GPUs of all machines", None, trains=False, unit="GPUs", since="0.3")
    gpu_memory_gib: float | None = key(
        "memory of each GPU", None, trains=False, unit="GiB", since="0.3"
    )
    memory_gib: float | None = key(
        "main memory of the machine with the rollout engine",
        None,
        trains=False,
        unit="GiB",
        since="0.3",
    )

    def problems(self) -> Iterator[str]:
        if self.gpus is not None:
            yield from at_least("plan.gpus", self.gpus, 0)
        for name in ("gpu_memory_gib", "memory_gib"):
            value = getattr(self, name)
            if value is not None:
                yield from positive(f"plan.{name}", value)
        if self.gpus == 0 and self.gpu_memory_gib is not None:
            yield (
                f"plan.gpu_memory_gib={self.gpu_memory_gib:g} is the memory of each of plan.gpus, "
                f"and plan.gpus=0: leave one of them out"
            )


def command_problems(
    command: Command, *, against: str | None, run: str | None, runs: list[str]
) -> Iterator[str]:
    """What a command needs, and what is given to a command that does not take it."""
    given = {"against": against is not None, "run": run is not None, "runs": bool(runs)}
    for name, (takers, what) in _TAKERS.items():
        if given[name] and command not in takers:
            commands = " or ".join(f"command={taker.name}" for taker in takers)
            yield f"{name} is not used by command={command.name}; it belongs to {commands}"
        if not given[name] and command is takers[0]:
            yield f"command={command.name} needs {name}={what}"
    yield from not_empty("against", against)
    yield from not_empty("run", run)
    if any(not name.strip() for name in runs):
        yield "runs must not hold an empty text"


# key -> the commands that take it, the first of which needs it; what it is
_TAKERS = {
    "against": ((Command.diff,), "<a recipe or a run directory>"),
    "run": ((Command.rerun, Command.diff), "<a run directory>"),
    "runs": ((Command.report,), "<run directories or a sweep's directory>"),
}

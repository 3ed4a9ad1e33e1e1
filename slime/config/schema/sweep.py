"""How the jobs of a sweep (-m) are run."""

from dataclasses import dataclass

from slime.config.schema.base import Node, key


@dataclass(slots=True, kw_only=True)
class SweepConfig(Node):
    """How the jobs of a sweep (-m) are run."""

    resume: bool = key(
        "skip a job whose config has been trained to the end before, in the folder of the sweep or "
        "in one beside it; what an unfinished job left is moved aside, and the job runs again",
        False,
        trains=False,
        since="0.2",
    )

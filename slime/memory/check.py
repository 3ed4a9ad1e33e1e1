"""Before a run starts: does this machine have the memory?  Milliseconds, and only arithmetic.

An estimate may be a little off, so it refuses only what no setting can save: weights, gradients and
optimizer that do not fit by themselves.  The rest is a warning.
"""

from collections.abc import Iterator

from slime.config.schema import Config, ConfigError
from slime.memory.command import subject_of
from slime.memory.estimate import Estimate, estimate
from slime.memory.machine import this_machine
from slime.memory.refuse import advice
from slime.memory.table import gib
from slime.model.check import layout_problems


def problems(config: Config) -> Iterator[str]:
    """A line for each memory that what every step needs is too large for."""
    found = _planned(config)
    if found is None or found.states_fit:
        return
    for need in found.needs:
        if need.states > need.has:
            yield (
                f"{need.where}: weights, gradients and optimizer of the train workers alone need "
                f"{gib(need.states)} of {gib(need.has)} GiB; {advice(found)}; "
                f"command=plan shows all of it"
            )


def warnings(config: Config) -> Iterator[str]:
    """A line for each memory that is probably too small."""
    found = _planned(config)
    for need in found.needs if found is not None else ():
        if not need.fits:
            yield (
                f"{need.where} may not suffice: this run needs about {gib(need.bytes)} of "
                f"{gib(need.has)} GiB; command=plan shows what for, and what would fit"
            )


def _planned(config: Config) -> Estimate | None:
    """None: nothing is trained, or not on this machine, or other problems come first."""
    if not config.command.trains or config.cluster.address is not None:
        return None
    if list(layout_problems(config.model, config.parallel)):
        return None
    try:
        subject = subject_of(config, this_machine())
    except ConfigError:
        return None
    return estimate(subject, config.parallel)

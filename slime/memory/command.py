"""command=plan: whether the configured run fits, without starting or loading any of it."""

from slime.config.schema import Config, ConfigError
from slime.memory.estimate import Subject, estimate
from slime.memory.machine import Machine, machine_of
from slime.memory.refuse import problems_of
from slime.memory.table import text_of
from slime.memory.workload import workload_of
from slime.model.architecture_of import architecture_of
from slime.model.check import family_problems, layout_problems


def print_plan(config: Config) -> None:
    """Print the estimate for the machine of plan.*.

    Raises ConfigError for a model folder or a layout that is wrong, and, when the estimate is
    printed, where the memory does not suffice: with the layout for which it does.
    """
    subject = subject_of(config, machine_of(config.plan))
    wrong = [
        *family_problems(config.model),
        *layout_problems(config.model, config.parallel),
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))
    found = estimate(subject, config.parallel)
    print(text_of(found), flush=True)
    problems = list(problems_of(found))
    if problems:
        raise ConfigError("\n".join(problems))


def subject_of(config: Config, machine: Machine) -> Subject:
    """Raises ConfigError for a model folder whose config.json cannot be read."""
    model = architecture_of(config.model)
    return Subject(model, workload_of(config), config.parallel.precision, machine)

"""From a subject and something that runs the configured layout to a certificate."""

from collections.abc import Callable

from slime.check.case import Case, Draw, build_case, samples_of, with_rollout_log_probs
from slime.check.certificate import Certificate
from slime.check.compare import compare
from slime.check.layout import layout_in_words
from slime.check.modes import weigh
from slime.check.off_policy import OffPolicy
from slime.check.reference import reference_step
from slime.check.shares import shares
from slime.check.subject import Subject
from slime.check.warn import warnings
from slime.config.schema import Config, ConfigError
from slime.config.schema.steps import step_sizes
from slime.data import Step
from slime.data.metrics import StepGradient
from slime.model.exact import ExactModel
from slime.model.precision import dtype_of
from slime.plan import Planner

# What a step reports on the configured layout, and its gradient.
Layout = Callable[[Step], StepGradient]


def certify(
    config: Config,
    subject: Subject,
    plan: Planner,
    layout: Layout,
    say: Callable[[str], None],
) -> Certificate:
    """Run the reference, then the layout, and compare them.

    Raises ConfigError for a step that cannot be checked.
    """
    precision = dtype_of(config.parallel.precision)
    model = ExactModel(subject.folder, precision)
    case = _case(config, subject, plan, model)
    say(f"running the reference: {len(case.items)} samples, one at a time, in float64")
    modes = weigh(case.items, config.loss, config.rollout.max_response_tokens)
    reference = reference_step(model, case, config.loss, modes)
    words = layout_in_words(config.parallel, str(precision).removeprefix("torch."))
    say(f"running the layout: {words}")
    found = layout(case.step)
    norms = dict(zip([mode.name for mode in modes], reference.gradient_norms, strict=True))
    parameters = sum(p.numel() for p in model.parameters.values())
    return Certificate(
        layout=words,
        step=subject.step_in_words,
        rows=tuple(compare(found, reference, subject.tolerances)),
        modes=tuple(shares(case.items, mode) for mode in modes),
        gradient_norms=reference.gradient_norms,
        warnings=tuple(warnings(norms, parameters, config.optimizer)),
    )


def _case(config: Config, subject: Subject, plan: Planner, model: ExactModel) -> Case:
    draw = Draw(
        loss=config.loss,
        temperature=config.rollout.temperature,
        off_policy=OffPolicy(dtype_of(config.parallel.precision), config.check.seed),
        has_old=subject.has_old,
    )
    size = step_sizes(len(subject.groups), config.steps_per_iteration, config.incomplete_step)[0]
    first, rest = subject.groups[:size], subject.groups[size:]
    drawn = [draw(model, sample) for sample in samples_of(first)]
    if not subject.own_rollout_log_probs:
        first = tuple(with_rollout_log_probs(first, drawn))
    try:
        case = build_case([*first, *rest], drawn, plan, draw, config.advantage)
    except ValueError as refused:  # by a function of the user's own, or the planner
        raise ConfigError(str(refused)) from refused
    if case.step.active_tokens == 0:
        raise ConfigError(f"the step to check ({subject.step_in_words}) has no active token")
    return case

"""How an iteration's prompts become optimizer steps."""

from enum import Enum


class IncompleteStep(Enum):
    """What becomes of an iteration whose prompts do not split into equal steps."""

    refuse = "refuse"
    train = "train"
    drop = "drop"


class StepsError(ValueError):
    """The prompts do not make so many steps.  The message says what to write."""


def step_sizes(prompts: int, steps: int, incomplete: IncompleteStep) -> list[int]:
    """How many prompts each of the `steps` optimizer steps takes, in order.

    Raises StepsError when they do not split as `incomplete` says.
    """
    if not prompts:
        raise StepsError("there are no prompts to make steps of")
    if not 1 <= steps <= prompts:
        raise StepsError(f"a step takes at least one prompt; write {_at_most(prompts)}")
    size, left_over = divmod(prompts, steps)
    if not left_over:
        return [size] * steps
    match incomplete:
        case IncompleteStep.refuse:
            raise StepsError(
                "a step takes whole prompts, and every step as many as the others; write "
                "incomplete_step=train (the last step is smaller), incomplete_step=drop (what is "
                f"left over trains nothing) or a steps_per_iteration that divides {prompts}"
            )
        case IncompleteStep.drop:
            return [size] * steps
        case IncompleteStep.train:
            return _with_a_smaller_last(prompts, steps)


def filtered_step_sizes(prompts: int, steps: int, incomplete: IncompleteStep) -> list[int]:
    """The same for what a filter left of an iteration: fewer steps where it does not take so many.

    Raises StepsError only where refuse does not split it.
    """
    if not prompts:
        return []
    match incomplete:
        case IncompleteStep.refuse:
            return step_sizes(prompts, steps, incomplete)
        case IncompleteStep.drop:
            taken = min(steps, prompts)
            return [prompts // taken] * taken
        case IncompleteStep.train:
            return _smaller_last(prompts, steps)


def _with_a_smaller_last(prompts: int, steps: int) -> list[int]:
    sizes = _smaller_last(prompts, steps)
    if len(sizes) < steps:
        raise StepsError(
            f"steps of {sizes[0]} prompts are only {len(sizes)}; write "
            f"steps_per_iteration={len(sizes)} or incomplete_step=drop"
        )
    return sizes


def _smaller_last(prompts: int, steps: int) -> list[int]:
    size = -(-prompts // steps)
    full, last = divmod(prompts, size)
    return [size] * full + ([last] if last else [])


def _at_most(prompts: int) -> str:
    return f"steps_per_iteration={prompts}" + (" or less" if prompts > 1 else "")

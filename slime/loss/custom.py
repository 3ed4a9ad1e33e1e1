"""Step weights by a function of the user's own, checked before the run and in every step of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from slime.config.schema import ConfigError
from slime.config.schema.imported import describe, import_function
from slime.data import StepShape

# Micro-batches multiply in float32, where what lies beyond becomes 0 or inf.
SMALLEST, LARGEST = 1e-30, 1e30

# Ragged groups, a rollout of two samples, and rollout 14 without an active token.
PROBE = StepShape(
    active_tokens=torch.tensor([7, 2, 5, 1, 0, 9]),
    rollout_ids=torch.tensor([11, 12, 13, 13, 14, 15]),
    prompt_ids=torch.tensor([1, 1, 1, 1, 2, 2]),
)


@dataclass(frozen=True, slots=True)
class CustomAggregation:
    """The weights that the function at `path` gives to a step, or an error that names it."""

    path: str
    function: Callable[[StepShape], Any]

    def __call__(self, step: StepShape) -> Tensor:
        """-> [S] float64 on the CPU.

        Raises ValueError when the function raises, or returns anything but S numbers, finite and
        >= 0 for samples with active tokens; the weight of the others is 0 whatever it says.  It is
        not asked about a step without an active token.
        """
        if not step.active_tokens.any():
            return torch.zeros(len(step.active_tokens), dtype=torch.float64)
        try:
            weights_S = _dense(self.function(_copy(step)))
        except (Exception, SystemExit) as failed:  # whatever the user's function raises
            raise ValueError(f"{self._name} raised {describe(failed)}") from failed
        self._check(weights_S, step)
        weights_S = weights_S.double()
        return torch.where(step.active_tokens > 0, weights_S, 0.0)

    @property
    def _name(self) -> str:
        return f"loss.function={self.path}"

    def _check(self, weights_S: Any, step: StepShape) -> None:
        if not isinstance(weights_S, Tensor):
            raise ValueError(
                f"{self._name} must return a tensor of weights, returned a "
                f"{type(weights_S).__name__}"
            )
        if weights_S.shape != step.active_tokens.shape:
            raise ValueError(
                f"{self._name} must return one weight for each of the {len(step.active_tokens)} "
                f"samples, returned the shape {tuple(weights_S.shape)}"
            )
        if not weights_S.is_floating_point():
            raise ValueError(
                f"{self._name} must return floating-point weights, returned {weights_S.dtype}"
            )
        # 1 / active_tokens is inf where there is none, and nothing has that weight.
        fine_S = weights_S.isfinite() & (weights_S >= 0) & (weights_S <= LARGEST)
        wrong_S = (step.active_tokens > 0) & ~(
            fine_S & ((weights_S == 0) | (weights_S >= SMALLEST))
        )
        if wrong_S.any():
            s = int(wrong_S.nonzero()[0])
            raise ValueError(
                f"{self._name} must return weights that are 0 or from {SMALLEST} to {LARGEST}, "
                f"returned {weights_S[s].item()} for a sample of "
                f"{int(step.active_tokens[s])} active tokens"
            )


def _dense(weights_S: Any) -> Any:
    """On the CPU and without a graph, whatever kind of tensor it was."""
    if not isinstance(weights_S, Tensor):
        return weights_S
    return (weights_S.to_dense() if weights_S.is_sparse else weights_S).detach().cpu()


def _copy(step: StepShape) -> StepShape:
    """What the function writes into its argument reaches nobody else."""
    prompt_ids = step.prompt_ids
    return replace(
        step,
        active_tokens=step.active_tokens.clone(),
        rollout_ids=step.rollout_ids.clone(),
        prompt_ids=None if prompt_ids is None else prompt_ids.clone(),
    )


def build_custom(path: str) -> CustomAggregation:
    """The function at package.module:name, tried on a small step.

    Raises ConfigError when it cannot be imported or called, or returns no weights.
    """
    aggregation = CustomAggregation(path, import_function("loss.function", path, "step"))
    try:
        aggregation(PROBE)
    except ValueError as wrong:
        raise ConfigError(str(wrong)) from wrong
    return aggregation

"""Time to compute the weights of an optimizer step of a million samples, for every mode.

    python benchmarks/step_weights.py

Ragged prompt groups of 1 to 16 rollouts, rollouts of 1 to 3 samples, some samples empty, in random
order and with random 63-bit ids.  Prints markdown: the median of five runs of each function.
"""

import os
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from slime.config.schema import (
    ConstantLoss,
    EmptyUnits,
    LossConfig,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.data import StepShape
from slime.loss import build_aggregation

SAMPLES = 1_000_000
MODES: dict[str, LossConfig] = {
    "sample_mean": SampleMeanLoss(),
    "sample_mean, empty_units=drop": SampleMeanLoss(empty_units=EmptyUnits.drop),
    "prompt_mean": PromptMeanLoss(),
    "token_mean": TokenMeanLoss(),
    "constant": ConstantLoss(divisor=40960.0),
}


def ragged_step(samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """-> active tokens [S], rollout ids [S], prompt ids [S]"""
    generator = torch.Generator().manual_seed(0)

    def random(low: int, high: int, size: int) -> Tensor:
        return torch.randint(low, high, (size,), generator=generator)

    rollout_S = torch.arange(samples).repeat_interleave(random(1, 4, samples))[:samples]
    prompt_R = torch.arange(samples).repeat_interleave(random(1, 17, samples))[:samples]
    order_S = torch.randperm(samples, generator=generator)
    rollout_S = rollout_S[order_S]
    active_tokens_S = random(-500, 16384, samples).clamp(min=0)
    ids_R, ids_P = random(0, 2**63 - 1, samples), random(0, 2**63 - 1, samples)
    return active_tokens_S, ids_R[rollout_S], ids_P[prompt_R[rollout_S]]


def seconds(function: Callable[[], object]) -> float:
    def timed() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    timed()
    return median(timed() for _ in range(5))


def main() -> None:
    columns = ragged_step(SAMPLES)
    step = StepShape(*columns)
    rollouts, prompts = (len(ids.unique()) for ids in columns[1:])
    print(
        f"{SAMPLES:,} samples, {rollouts:,} rollouts, {prompts:,} prompts; "
        f"{torch.get_num_threads()} threads; Python {sys.version.split()[0]}, "
        f"torch {torch.__version__}; load average {os.getloadavg()[0]:.1f}\n"
    )
    print("| | seconds |\n|---|---|")
    print(f"| StepShape(...), which checks the ids | {seconds(lambda: StepShape(*columns)):.3f} |")
    for name, config in MODES.items():
        aggregation = build_aggregation(config)
        print(f"| {name} | {seconds(lambda f=aggregation: f(step)):.3f} |", flush=True)


if __name__ == "__main__":
    main()

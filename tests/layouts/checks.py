"""A step on a layout, against what the oracle says of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from layouts.compare import FLOAT32, Bounds, assert_gradient_is, assert_metrics_are
from layouts.layouts import ADAM, Trainers, shares_of
from layouts.problems import LOSSES, Problem, model_of
from layouts.workers import Shares

from slime.config.schema import ParallelConfig


def check(
    trainers: Trainers,
    folder: Path,
    config: ParallelConfig,
    loss: str,
    problem: Problem,
    shares: Shares | None = None,
    bounds: Bounds = FLOAT32,
) -> None:
    """Loss, metrics and the gradient of every parameter.  shares: None for the trainer's own."""
    shared = shares or shares_of(problem.step.samples, config)
    outcome = trainers.gradient(folder, config, LOSSES[loss], shared)
    assert_metrics_are(outcome.metrics, problem, bounds, ADAM.learning_rate)
    assert_gradient_is(outcome.tensors, problem.gradient, bounds)


def check_all(
    trainers: Trainers,
    folder: Path,
    config: ParallelConfig,
    loss: str,
    problems: Sequence[Problem],
    bounds: Bounds = FLOAT32,
) -> None:
    for problem in problems:
        check(trainers, folder, config, loss, problem, bounds=bounds)


def check_log_probs(
    trainers: Trainers, folder: Path, config: ParallelConfig, problem: Problem
) -> None:
    """Of the response tokens of every sample, by every worker that has them."""
    shares = shares_of(problem.step.samples, config)
    answers = trainers.log_probs(folder, config, shares)
    assert len(answers) == config.workers // config.pipeline
    for answer in answers:
        for train, log_probs_R in answer:
            right_R, _ = model_of(folder).read(train.sample)
            assert log_probs_R.double().numpy() == pytest.approx(right_R, abs=1e-5)

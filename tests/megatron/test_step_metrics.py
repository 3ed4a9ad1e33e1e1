"""From a step's sums to its metrics."""

import dataclasses
import json

import pytest
import torch

from slime.loss import MetricSums
from slime.megatron.metrics import step_metrics

SUMS = MetricSums.from_vector(torch.arange(1.0, 12.0, dtype=torch.float64))


def test_weighted_terms_are_sums_and_the_rest_are_means_over_active_tokens():
    sums = dataclasses.replace(SUMS, active_tokens=torch.tensor(4.0))
    metrics = step_metrics(sums, 0.5, 1e-3, skipped=False)
    for name in ("loss", "pg_loss", "kl_loss", "entropy_loss"):
        assert getattr(metrics, name) == getattr(SUMS, name).item()
    for name in ("entropy", "kl", "ratio", "rollout_logprob_abs_diff"):
        assert getattr(metrics, name) == getattr(SUMS, name).item() / 4
    assert metrics.clip_fraction_low == SUMS.clipped_low.item() / 4
    assert metrics.clip_fraction_high == SUMS.clipped_high.item() / 4
    assert (metrics.active_tokens, metrics.grad_norm, metrics.learning_rate) == (4, 0.5, 1e-3)


def test_without_active_tokens_nothing_divides_by_zero():
    zeros = MetricSums.from_vector(torch.zeros(11, dtype=torch.float64))
    metrics = step_metrics(zeros, 0.0, 1e-3, skipped=False)
    assert (metrics.entropy, metrics.ratio, metrics.clip_fraction_low) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_a_number_is_none_so_that_metrics_are_json(value):
    sums = MetricSums.from_vector(torch.full((11,), value, dtype=torch.float64))
    sums = dataclasses.replace(sums, active_tokens=torch.tensor(4.0))
    metrics = step_metrics(sums, value, 1e-3, skipped=True)
    assert metrics.loss is None
    assert metrics.entropy is None
    assert metrics.grad_norm is None
    json.dumps(dataclasses.asdict(metrics), allow_nan=False)

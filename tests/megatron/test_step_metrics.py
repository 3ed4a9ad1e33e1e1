"""From a step's sums to its metrics."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from slime.data.metrics import NOTHING_TO_TRAIN, StepMetrics
from slime.loss import MetricSums, Normalizer
from slime.megatron.metrics import step_metrics

SIZE = len(dataclasses.fields(MetricSums))
SUMS = dataclasses.replace(
    MetricSums.from_vector(torch.arange(1.0, SIZE + 1.0, dtype=torch.float64)),
    active_tokens=torch.tensor(4.0),
)
WEIGHTED = {"loss", "pg_loss", "kl_loss", "entropy_loss"}
NOT_FROM_SUMS = {"grad_norm", "learning_rate", "skipped"}


def test_weighted_terms_are_sums_and_the_rest_are_means_over_active_tokens():
    metrics = dataclasses.asdict(step_metrics(SUMS, 0.5, 1e-3, skipped=False))
    assert metrics.pop("active_tokens") == 4
    assert {name: metrics.pop(name) for name in NOT_FROM_SUMS} == {
        "grad_norm": 0.5,
        "learning_rate": 1e-3,
        "skipped": False,
    }
    for name in WEIGHTED:
        assert metrics.pop(name) == getattr(SUMS, name).item()
    assert len(metrics) == SIZE - len(WEIGHTED) - 1
    for name, value in metrics.items():
        assert value == getattr(SUMS, name).item() / 4


def test_every_metric_says_in_the_docs_what_normalises_it():
    """One row each; the last column is the normaliser that the code applies."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `train/(\w+)` \|.*\| ([^|]*) \|$", page, re.M)
    written = dict(rows)
    assert list(written) == [f.name for f in dataclasses.fields(StepMetrics)]
    words = {
        Normalizer.nothing: {"step weights", "auxiliary weights", "none"},
        Normalizer.active_tokens: {"active tokens"},
    }
    for f in dataclasses.fields(MetricSums):
        assert written[f.name] in words[MetricSums.normalizer(f.name)], f.name


def test_without_active_tokens_nothing_divides_by_zero():
    metrics = step_metrics(MetricSums.zeros(), 0.0, 1e-3, skipped=False)
    assert (metrics.entropy, metrics.ratio, metrics.clip_fraction_low) == (0.0, 0.0, 0.0)
    nothing = dataclasses.replace(metrics, learning_rate=0.0, skipped=True)
    assert nothing == NOTHING_TO_TRAIN


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_a_number_is_none_so_that_metrics_are_json(value):
    sums = MetricSums.from_vector(torch.full((SIZE,), value, dtype=torch.float64))
    sums = dataclasses.replace(sums, active_tokens=torch.tensor(4.0))
    metrics = step_metrics(sums, value, 1e-3, skipped=True)
    assert metrics.loss is None
    assert metrics.entropy is None
    assert metrics.grad_norm is None
    json.dumps(dataclasses.asdict(metrics), allow_nan=False)

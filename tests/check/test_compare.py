"""The table's rows: what counts as equal."""

from dataclasses import fields, replace

import pytest
import safetensors.torch
import torch

from slime.check.compare import compare
from slime.check.reference import Measure, ReferenceStep
from slime.check.tolerances import of_small_model, of_whole_model
from slime.data.metrics import NOTHING_TO_TRAIN, StepGradient, StepMetrics

NAMES = [f.name for f in fields(StepMetrics) if f.name not in ("learning_rate", "skipped")]
GRADIENT = {"a": torch.tensor([1.0, -2.0]), "b": torch.zeros(2, 2) + 0.5}
METRICS = replace(NOTHING_TO_TRAIN, **dict.fromkeys(NAMES, 3.0))
REFERENCE = ReferenceStep(
    measures={name: Measure(3.0, 3.0) for name in NAMES},
    gradient={name: g.double() for name, g in GRADIENT.items()},
    gradient_norms=(3.0,),
)


def rows(metrics=METRICS, gradient=GRADIENT, reference=REFERENCE, shards=None):
    shards = shards or (safetensors.torch.save(gradient),)
    return compare(StepGradient(metrics, shards), reference, of_small_model(torch.float32))


def failed(**changes):
    return [row.term for row in rows(**changes) if not row.ok]


def test_every_metric_of_a_step_and_the_worst_parameter_have_a_row():
    assert [row.term for row in rows()][:-1] == NAMES
    assert rows()[-1].term.startswith("worst parameter: ")
    assert failed() == []


@pytest.mark.parametrize("name", NAMES)
def test_each_metric_may_be_off_by_rounding_and_not_by_more(name):
    assert failed(metrics=replace(METRICS, **{name: 3.0 + 5e-5})) == []
    assert failed(metrics=replace(METRICS, **{name: 3.0 + 7e-5})) == [name]


def test_an_error_goes_by_the_size_of_what_was_added_up():
    """A loss that cancels to nearly nothing has the rounding of its terms."""
    cancels = replace(REFERENCE, measures={**REFERENCE.measures, "pg_loss": Measure(1e-6, 1.0)})
    assert failed(metrics=replace(METRICS, pg_loss=2e-5), reference=cancels) == []
    assert failed(metrics=replace(METRICS, pg_loss=3e-5), reference=cancels) == ["pg_loss"]


def test_a_term_that_must_be_zero_is_exactly_zero():
    nothing = replace(REFERENCE, measures={**REFERENCE.measures, "kl_loss": Measure(0.0, 0.0)})
    assert failed(metrics=replace(METRICS, kl_loss=0.0), reference=nothing) == []
    assert failed(metrics=replace(METRICS, kl_loss=1e-30), reference=nothing) == ["kl_loss"]


def test_a_value_that_is_not_finite_fails():
    assert failed(metrics=replace(METRICS, loss=None)) == ["loss"]
    wrong = {**GRADIENT, "b": torch.full((2, 2), torch.nan)}
    assert failed(gradient=wrong) == ["worst parameter: b"]


def test_the_worst_parameter_is_named_with_its_worst_element():
    wrong = {**GRADIENT, "b": GRADIENT["b"] + torch.tensor([[0, 0], [1e-3, 0]])}
    row = rows(gradient=wrong)[-1]
    assert row.term == "worst parameter: b"
    assert (row.layout, row.reference) == pytest.approx((0.501, 0.5))
    assert row.relative_error == pytest.approx(2e-3, rel=1e-4)
    assert not row.ok


def test_a_gradient_that_is_nothing_may_have_rounding():
    tiny = replace(
        REFERENCE, gradient={**REFERENCE.gradient, "b": torch.zeros(2, 2, dtype=torch.float64)}
    )
    assert failed(gradient={**GRADIENT, "b": torch.full((2, 2), 3e-7)}, reference=tiny) == []
    wrong = {**GRADIENT, "b": torch.full((2, 2), 5e-7)}
    assert failed(gradient=wrong, reference=tiny) == ["worst parameter: b"]


def test_a_parameter_that_one_side_does_not_have_fails():
    more = {**GRADIENT, "c": torch.zeros(1)}
    assert failed(gradient=more) == ["worst parameter: c (not in the reference)"]
    assert failed(gradient={"a": GRADIENT["a"]}) == ["worst parameter: b (not in the layout)"]
    wrong = {**GRADIENT, "b": torch.zeros(4)}
    assert failed(gradient=wrong) == ["worst parameter: b (shape)"]


def test_the_gradient_may_come_in_several_shards_and_some_may_be_empty():
    shards = (
        safetensors.torch.save({"a": GRADIENT["a"]}), b"",
        safetensors.torch.save({"b": GRADIENT["b"]}),
    )  # fmt: skip
    assert failed(shards=shards) == []


def test_on_a_whole_model_in_bfloat16_a_missing_or_doubled_gradient_still_fails():
    bounds = of_whole_model(torch.bfloat16)
    for factor in (0.0, 2.0, -1.0):
        gradient = {**GRADIENT, "a": factor * GRADIENT["a"]}
        shards = (safetensors.torch.save(gradient),)
        found = compare(StepGradient(METRICS, shards), REFERENCE, bounds)
        assert [row.term for row in found if not row.ok] == ["worst parameter: a"]

"""docs/coming-from.md: every row is true, and every row has its test."""

import math
import re
import sys
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
from coming_from import here
from coming_from.rows import ENTROPY, ROWS, Differs, OtherTerm, Same
from coming_from.step import Row, example, ppo, steps
from hypothesis import given, settings
from hypothesis import strategies as st

DOCUMENT = (here.ROOT / "docs" / "coming-from.md").read_text()


@dataclass(frozen=True)
class Claim:
    """A row of the document."""

    framework: str
    there: str
    here: str
    same: bool
    text: str


def claims() -> list[Claim]:
    found = []
    for section in DOCUMENT.split("\n## ")[1:]:
        for line in re.findall(r"^\| (?!there|-).*\|$", section, re.M):
            there, ours, same, text = (cell.strip() for cell in line.strip("|").split("|"))
            assert same in ("yes", "no"), line
            framework = section.splitlines()[0]
            plain = there.replace("`", "")
            found.append(Claim(framework, plain, ours.strip("`"), same == "yes", text))
    return found


@pytest.fixture(scope="module", autouse=True)
def my_weights():
    """The functions that the document shows."""
    [code] = re.findall(r"^```python\n(.*?)```", DOCUMENT, re.M | re.S)
    module = ModuleType("my_weights")
    exec(code, vars(module))
    sys.modules["my_weights"] = module
    yield
    del sys.modules["my_weights"]


def of_kind(kind):
    rows = [row for row in ROWS if isinstance(row, kind)]
    return pytest.mark.parametrize("row", rows, ids=lambda r: f"{r.framework}: {r.there}")


def test_every_row_of_the_document_has_its_test_and_every_test_its_row():
    documented = {(c.framework, c.there, c.here, c.same) for c in claims()}
    tested = {(r.framework, r.there, r.here, isinstance(r, Same)) for r in ROWS}
    assert documented == tested
    assert len(claims()) == len(ROWS)


@of_kind((Differs, OtherTerm))
def test_the_document_states_the_factor_that_is_tested(row):
    [claim] = [c for c in claims() if (c.framework, c.there) == (row.framework, row.there)]
    assert f"`{row.says}`" in claim.text


@of_kind(Same)
@settings(max_examples=20)
@given(st.data())
def test_what_is_called_the_same_is_the_same_number_on_every_step(row, data):
    fan_out = row.may_fan_out and data.draw(st.booleans())
    step = data.draw(steps(fan_out=fan_out, empty=row.may_be_empty)).with_terms(row.objective)
    there, ours = row.peer(step), here.loss(row.here, step)
    assert math.isclose(there, ours, rel_tol=1e-6, abs_tol=1e-9)  # some peers add 1e-8 to a count


@of_kind(Differs)
def test_what_is_called_different_differs_by_the_factor_that_is_stated(row):
    step = example()
    weights = here.auxiliary_weights if row.here == ENTROPY else here.weights
    ours = weights(row.here, step)
    there = [row.peer(only) for only in step.one_token_terms()]
    batch_of = {id(r): batch for batch in step.batches for r in batch}
    factors = []
    for sample, theirs, mine in zip(step.rows, there, ours, strict=True):
        if sample.active:
            factors.append(row.factor(step, batch_of[id(sample)]))
            # one_token_terms spreads 1 over the tokens of the row
            assert math.isclose(theirs, mine * factors[-1], rel_tol=1e-9)
    assert any(not math.isclose(factor, 1) for factor in factors)


TEMPERATURE = {True: 1.0, False: 1.05}  # TRL's defaults, for advantages above 0 and not


def sapo(row: Row) -> np.ndarray:
    temperature = TEMPERATURE[row.advantage > 0]
    gate = 1 / (1 + np.exp(-temperature * (np.exp(row.current - row.old) - 1)))
    return -gate * 4 / temperature * row.advantage


def gradient(term, row: Row) -> np.ndarray:
    """d term / d log-prob of each token, by central differences."""
    step = 1e-6
    up, down = (term(replace(row, current=row.current + d)) for d in (step, -step))
    return (up - down) / (2 * step)


def vespo_gradient(row: Row) -> np.ndarray:
    """-phi(w) A, with TRL's default k and lambda and w the product of the row's ratios."""
    k, lam = (2.0, 3.0) if row.advantage >= 0 else (3.0, 2.0)
    log_w = (row.current - row.old)[row.mask].sum()
    phi = np.exp(lam + k * log_w - lam * np.exp(log_w))
    return np.full(len(row.mask), -phi * row.advantage)


def with_rows():
    return pytest.mark.parametrize("row", example().rows, ids=lambda r: f"row {r.rollout}")


@with_rows()
def test_sapo_has_the_gradient_of_ppo_on_policy_and_another_value(row):
    row = replace(row, current=row.old)
    assert np.allclose(gradient(sapo, row), -row.advantage, atol=1e-6)
    assert np.allclose(sapo(row), 2 / TEMPERATURE[row.advantage > 0] * ppo(row))


@with_rows()
def test_vespo_has_the_gradient_of_ppo_on_policy_only(row):
    assert np.allclose(vespo_gradient(replace(row, current=row.old)), -row.advantage)
    if len(row.mask) > 1 and row.active:
        assert not np.allclose(vespo_gradient(row), gradient(ppo, row), rtol=1e-3)


def test_off_policy_sapo_is_no_clip():
    row = example().rows[4]
    assert not np.allclose(gradient(sapo, row), gradient(ppo, row), rtol=1e-3)

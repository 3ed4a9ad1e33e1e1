"""docs/loss.md: what it shows is what the code does."""

import doctest
import importlib
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from loss.test_aggregation import shape, steps

from slime.config.schema import CustomLoss
from slime.loss import build_aggregation

PAGE = Path(__file__).parents[2] / "docs" / "loss.md"


def test_the_worked_example_in_the_docs_gives_what_it_says():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert (failed, tried > 20) == (0, True)


@pytest.fixture(scope="module")
def aggregate(tmp_path_factory):
    """The example of a custom aggregation, saved and named as the docs say."""
    folder = tmp_path_factory.mktemp("their_code")
    [(name, code)] = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.S)
    (folder / f"{name}.py").write_text(code)
    [function] = re.findall(r"loss\.function=(\w+:\w+)", PAGE.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield build_aggregation(CustomLoss(function=function))


@given(step=steps())
def test_the_documented_aggregation_shares_the_step_by_the_square_root_of_length(aggregate, step):
    active, rollouts, _ = step
    lengths = Counter()
    for tokens, rollout in zip(active, rollouts, strict=True):
        lengths[rollout] += tokens
    total = sum(math.sqrt(length) for length in lengths.values())
    weights = aggregate(shape(*step)).tolist()
    for weight, tokens, rollout in zip(weights, active, rollouts, strict=True):
        expected = 1 / math.sqrt(lengths[rollout]) / total if tokens else 0.0
        assert weight == pytest.approx(expected)

"""check.json."""

import json
import math

from slime.check.certificate import Certificate
from slime.check.compare import Row
from slime.check.shares import ModeShares

INF = math.inf


def test_numbers_that_json_does_not_have_are_null_and_fail(tmp_path):
    certificate = Certificate(
        layout="thd",
        step="synthetic",
        rows=(Row("loss", None, INF, None, 2e-5), Row("ratio", 1.0, 1.0, 0.0, 2e-5)),
        modes=(ModeShares("sample_mean", math.nan, 0.5, 0.5, 0.5, INF),),
        gradient_norms=(INF, 2.0),
        warnings=(),
    )
    certificate.write(tmp_path)
    record = json.loads((tmp_path / "check.json").read_text())
    assert (record["ok"], [row["ok"] for row in record["rows"]]) == (False, [False, True])
    assert record["rows"][0]["reference"] is None
    assert record["gradient_norms"] == [None, 2.0]
    assert record["modes"][0]["shortest_decile"] is None

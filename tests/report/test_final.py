import math

import pytest
from report.synthetic_runs import SyntheticRun

from slime.report.final import evaluate
from slime.report.recipes import group_runs
from slime.report.runs import find_runs


def final_of(tmp_path, *runs):
    for number, run in enumerate(runs):
        run.write(tmp_path / str(number))
    return evaluate(group_runs(find_runs([tmp_path]).runs).recipes)


def runs_of(aggregation, top, seeds=3, **more):
    values = {"loss.aggregation": aggregation} | more.pop("values", {})
    return [SyntheticRun(seed=s, values=values, top=top, **more) for s in range(seeds)]


def test_far_apart_recipes_are_told_apart_and_equal_ones_are_not(tmp_path):
    final = final_of(tmp_path, *runs_of("a", 0.4), *runs_of("b", 0.9), *runs_of("c", 0.41))
    verdicts = {(c.first.label, c.second.label): c.verdict for c in final.comparisons}
    assert verdicts == {
        ("a", "b"): "b is higher",
        ("a", "c"): "no difference shown",
        ("b", "c"): "b is higher",
    }
    assert all(c.adjusted >= c.interval.p_value for c in final.comparisons)


def test_the_mean_is_that_of_the_evaluations_in_metrics_jsonl(tmp_path):
    [standing] = final_of(tmp_path, *runs_of("a", 0.6)).standings
    assert standing.interval.estimate == pytest.approx(math.fsum(standing.per_seed) / 3)
    assert standing.prompts == 60


def test_an_unfinished_run_is_in_no_mean(tmp_path):
    stopped = SyntheticRun(seed=3, values={"loss.aggregation": "a"}, top=0.1, stops_after=12)
    [standing] = final_of(tmp_path, *runs_of("a", 0.6), stopped).standings
    assert len(standing.per_seed) == 3
    never = final_of(tmp_path / "never", stopped)
    assert never.standings[0].interval is None
    assert never.standings[0].reason == "no finished run"


def test_recipes_on_other_questions_are_not_compared(tmp_path):
    harder = {"task.max_term": 99}
    final = final_of(tmp_path, *runs_of("a", 0.4), *runs_of("a", 0.8, values=harder))
    [comparison] = final.comparisons
    assert comparison.interval is None
    assert comparison.verdict.startswith("not compared: task.max_term differs")
    assert all(s.interval for s in final.standings)


def test_runs_that_answered_fewer_prompts_are_compared_on_those_that_all_answered(tmp_path):
    final = final_of(tmp_path, *runs_of("a", 0.4), *runs_of("b", 0.4, prompts=25))
    assert [s.prompts for s in final.standings] == [25, 25]
    assert final.notes == ("the intervals use the 25 held-out prompts that all runs answered",)


def test_runs_that_kept_no_answers_have_a_mean_and_no_interval(tmp_path):
    final = final_of(tmp_path, *runs_of("a", 0.4), *runs_of("b", 0.8, keeps_answers=False))
    old = final.standings[1]
    assert len(old.per_seed) == 3
    assert old.interval is None
    assert "evaluations.jsonl" in old.reason
    assert final.tested == ()


def test_a_difference_that_is_gone_after_holms_correction_is_none(tmp_path):
    runs = [r for n in range(8) for r in runs_of(f"r{n}", 0.6 + 0.012 * n, prompts=200)]
    final = final_of(tmp_path, *runs)
    for comparison in final.tested:
        if comparison.interval.holds_zero:
            assert comparison.verdict == "no difference shown"
        elif comparison.adjusted > 0.05:
            assert comparison.verdict.endswith("after Holm's correction, no difference shown")
        else:
            assert comparison.verdict.endswith("is higher")
    assert {c.verdict.partition(" is ")[2] for c in final.tested} >= {
        "higher; after Holm's correction, no difference shown"
    }

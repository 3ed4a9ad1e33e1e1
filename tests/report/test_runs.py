import json

import pytest
from report.synthetic_runs import SyntheticRun

from slime.config.schema import ConfigError
from slime.report.runs import find_runs


def test_runs_are_found_in_run_folders_and_sweeps_each_once_in_the_order_of_their_numbers(tmp_path):
    sweep = tmp_path / "sweep"
    for job in (10, 2, 0):
        SyntheticRun(seed=job).write(sweep / str(job))
    alone = SyntheticRun(seed=77).write(tmp_path / "alone")
    found = find_runs([sweep, alone, sweep / "2"])
    assert [run.seed for run in found.runs] == [0, 2, 10, 77]
    assert [run.name for run in found.runs] == ["sweep/0", "sweep/2", "sweep/10", "alone"]
    assert found.notes == ()


def test_what_cannot_be_read_is_named_and_the_others_are_not_lost(tmp_path):
    SyntheticRun().write(tmp_path / "good")
    (tmp_path / "good" / "metrics.jsonl").open("a").write('{"iteration": 24, "st')  # killed here
    for name, text in (("bad", "a: [1"), ("listed", "- 1"), ("empty", "command: train")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "resolved.yaml").write_text(text)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "metrics.jsonl").write_text("{}\n")
    SyntheticRun(values={"command": "check"}).write(tmp_path / "checked")
    found = find_runs([tmp_path])
    assert [run.name for run in found.runs] == ["good"]
    assert sorted(found.notes) == [
        "bad: left out, its resolved.yaml cannot be read",
        "bare: left out, it has no resolved.yaml",
        "checked: left out, it is a command=check",
        "empty: left out, it has no metrics yet",
        "good: 1 broken line(s) of metrics.jsonl left out",
        "listed: left out, its resolved.yaml cannot be read",
    ]


def test_nothing_to_report_is_a_config_error_that_says_where_it_looked(tmp_path):
    with pytest.raises(ConfigError, match="runs: nothing to report in"):
        find_runs([tmp_path])
    with pytest.raises(ConfigError) as error:
        find_runs([tmp_path / "a", tmp_path, tmp_path / "b"])
    assert str(error.value).splitlines() == [
        f"runs: there is no folder {tmp_path / 'a'}",
        f"runs: there is no folder {tmp_path / 'b'}",
    ]


NO_EVALUATION = "all iterations, no final evaluation"


def test_a_run_is_finished_when_its_last_iteration_was_trained_and_evaluated(tmp_path):
    finished = SyntheticRun().write(tmp_path / "0")
    stopped = SyntheticRun(stops_after=13).write(tmp_path / "1")
    (stopped / "ended.json").write_text(json.dumps({"exit_code": 130, "evaluation": None}))
    unevaluated = SyntheticRun().write(tmp_path / "2")
    lines = (unevaluated / "metrics.jsonl").read_text().splitlines(keepends=True)
    (unevaluated / "metrics.jsonl").write_text("".join(lines[:-1]))
    states = [run.state for run in find_runs([finished, stopped, unevaluated]).runs]
    assert states == ["finished", "13 of 24 iterations, exit code 130", NO_EVALUATION]


def test_an_iteration_averages_its_steps_and_nulls_do_not_count(tmp_path):
    folder = SyntheticRun(iterations=1).write(tmp_path / "0")
    records = [
        {"iteration": 0, "step": 0, "train/grad_norm": 9.0},
        {"iteration": 0, "step": 0, "train/grad_norm": 1.0},  # done again after a restart
        {"iteration": 0, "step": 1, "train/grad_norm": None},
        {"iteration": 0, "step": 2, "train/grad_norm": 3.0, "rollout/reward_mean": 0.5},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    [run] = find_runs([folder]).runs
    assert run.steps.loc[0].to_dict() == {"train/grad_norm": 2.0, "rollout/reward_mean": 0.5}

"""One table of many checks."""

import json

import pytest

from slime.check.sweep import print_sweep
from slime.config.ended import Ended, EndedJob


def ended(number, exit_code, folder):
    return EndedJob(number, folder, Ended(exit_code, None))


@pytest.fixture
def job(tmp_path):
    """A finished job, with the errors it found."""

    def job(number, layout, ok=True, **errors):
        folder = tmp_path / str(number)
        folder.mkdir()
        overrides = ["command=check", "model=tiny", *layout]
        (folder / "run.json").write_text(json.dumps({"overrides": overrides}))
        rows = [
            {"term": term, "relative_error": error, "tolerance": 2e-5}
            for term, error in {
                "loss": 1e-7,
                "ratio": 2e-7,
                "worst parameter: w": 3e-7,
                **errors,
            }.items()
        ]
        (folder / "check.json").write_text(json.dumps({"ok": ok, "rows": rows}))
        return ended(number, 0 if ok else 1, folder)

    return job


def rows(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines() if " #" in line]


def test_a_row_for_each_job_says_what_tells_it_from_the_others(job, capsys):
    print_sweep(
        [
            job(0, ["parallel.data=1", "parallel.context=1"]),
            job(1, ["parallel.data=1", "parallel.context=2"], ok=False, pg_loss=0.5, kl=None),
        ]
    )
    assert rows(capsys) == [
        ["#0", "parallel.context=1", "1.0e-07", "2.0e-07", "3.0e-07", "2e-05", "ok"],
        ["#1", "parallel.context=2", "5.0e-01", "not", "finite", "3.0e-07", "2e-05", "FAIL"],
    ]


def test_a_job_that_came_to_nothing_has_a_row_too(job, tmp_path, capsys):
    print_sweep([job(0, ["seed=0"]), ended(1, 2, tmp_path / "1"), ended(2, 1, tmp_path)])
    found = rows(capsys)
    assert found[0][-1] == "ok"
    assert [" ".join(row[-5:]) for row in found[1:]] == [
        "no check (exit code 2)", "no check (exit code 1)",
    ]  # fmt: skip


def test_a_sweep_without_checks_has_no_table(tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"overrides": ["seed=0"]}))
    print_sweep([ended(0, 0, tmp_path), EndedJob(1, tmp_path / "1", None)])
    assert capsys.readouterr().out == ""


def test_jobs_without_overrides_have_rows_too(job, capsys):
    ended = job(0, [])
    (ended.run_directory / "run.json").write_text(json.dumps({"overrides": []}))
    print_sweep([ended])
    assert [row[0] for row in rows(capsys)] == ["#0"]

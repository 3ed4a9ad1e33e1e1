"""command=recipes, diff and report: they read, print, and leave nothing behind."""

import sys
from types import ModuleType

import pytest

from slime.config.recipes import recipe_names

from .conftest import ROOT


@pytest.fixture
def run_directory(command):
    """Trains (as far as the fixture of that name trains) and gives the run directory's path."""

    def train(*arguments):
        [(_, directory)] = command("model=tiny", *arguments).trained
        return directory

    return train


def rows(text):
    """The cells of each line of a table."""
    lines = [line.rstrip() for line in text.splitlines() if line]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_recipes_has_a_line_for_each_with_the_first_line_of_its_file(command):
    ended = command("command=recipes")
    assert (ended.exit_code, ended.err, ended.trained) == (0, "", [])
    listed = dict(line.split(None, 1) for line in ended.out.splitlines())
    assert list(listed) == recipe_names(ROOT / "recipes")
    first = (ROOT / "recipes" / "grpo" / "v1.yaml").read_text().splitlines()[0]
    assert f"# {listed['grpo/v1']}" == first


def test_diff_shows_the_keys_that_differ_side_by_side(command):
    ended = command(
        "command=diff", "recipe=grpo/v1", "loss/kl=k3", "loss.objective.clip_high=0.28",
        "loss.objective.dual_clip=3", "loss/aggregation=dr_grpo", "against=grpo/v1",
        "tracking=none",
    )  # fmt: skip
    assert (ended.exit_code, ended.err) == (0, "")
    training, _, beside = ended.out.partition("Keys that differ and cannot change training:")
    table = rows(training)
    assert table[0] == ["this command line", "grpo/v1"]
    assert table[1][0] == "fingerprint"
    assert table[2:] == [
        ["loss/aggregation", "constant", "sample_mean"],
        ["loss.objective.clip_high", "0.28", "0.2"],
        ["loss.objective.dual_clip", "3.0", "null (neutral)"],
        ["loss.divisor", "8.0", "-"],
        ["- : this side has made a choice without such a key"],
        ["(neutral) : trains as if there were no such key"],
    ]
    assert rows(beside) == [["this command line", "grpo/v1"], ["tracking", "none", "tensorboard"]]


def test_diff_names_its_sides(command, run_directory):
    run = run_directory("seed=3")
    for arguments, one, other in (
        (["recipe=grpo/v1", f"against={run}"], "grpo/v1", str(run)),
        (["against=grpo/v1"], "the defaults", "grpo/v1"),
        ([f"run={run}", "against=grpo/v1"], str(run), "grpo/v1"),
        ([f"run={run}", "seed=5", "against=grpo/v1"], "this command line", "grpo/v1"),
    ):
        ended = command("command=diff", *arguments)
        assert rows(ended.out)[0] == [one, other]
        assert (ended.exit_code, ended.err) == (0, "")


def test_diff_of_the_same_training_is_a_sentence(command):
    ended = command("command=diff", "recipe=grpo/v1", "against=grpo/v1")
    assert ended.out.startswith("no difference: both train the same (fingerprint ")
    assert len(ended.out.splitlines()) == 1
    ended = command("command=diff", "recipe=grpo/v1", "against=grpo/v1", "parallel.data=2")
    first, *rest = ended.out.splitlines()
    assert first.startswith("no difference: both train the same (fingerprint ")
    assert "parallel.data  2                  1" in rest


def test_diff_compares_with_a_run(command, run_directory):
    run = run_directory("recipe=grpo/v1", "seed=3")
    ended = command("command=diff", "recipe=grpo/v1", "model=tiny", f"against={run}")
    assert rows(ended.out)[2:] == [["seed", "0", "3"]]
    ended = command("command=diff", f"run={run_directory('seed=4')}", f"against={run}")
    changed = [row[0] for row in rows(ended.out)[2:5]]
    assert changed == ["seed", "loss/kl", "loss.kl.coefficient"]


@pytest.mark.parametrize("runs", ["runs=a", "runs=[a]", "runs='a'"])
def test_report_is_given_the_folders_and_writes_into_the_first(
    runs, command, monkeypatch, tmp_path
):
    assert reported(monkeypatch, command, tmp_path, runs) == (["a"], "a/report")


def test_report_takes_several_folders_patterns_and_a_place_to_write(command, monkeypatch, tmp_path):
    for runs in ("runs=[b,a]", "runs=b,a"):
        assert reported(monkeypatch, command, tmp_path, runs) == (["b", "a"], "b/report")
    given = reported(monkeypatch, command, tmp_path, "runs=[c?,a]", "report.folder=x/y")
    assert given == (["c1", "c2", "a"], "x/y")


def reported(monkeypatch, command, tmp_path, *arguments):
    """The folders and the folder that write_report() is given."""
    given = []
    heavy = ModuleType("slime.report.command")
    heavy.write_report = lambda runs, folder: given.append((runs, folder)) or 5
    monkeypatch.setitem(sys.modules, "slime.report.command", heavy)
    for name in ("a", "b", "c1", "c2"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "c3").touch()
    ended = command("command=report", *arguments)
    assert (ended.exit_code, ended.err) == (5, "")
    [(runs, folder)] = given
    return [str(run) for run in runs], str(folder)


@pytest.mark.parametrize("arguments", [["command=recipes"], ["command=diff", "against=grpo/v1"]])
def test_they_leave_nothing_behind_and_import_nothing_heavy(arguments, tmp_path):
    from .test_launch import SPY, launched

    done = launched(tmp_path, *arguments, python=("-c", SPY))
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wanted", ["++command=recipes", "command='recipes'"])
def test_a_command_that_only_reads_never_starts_a_run_however_it_is_written(
    wanted, command, tmp_path
):
    ended = command(wanted)
    assert (ended.exit_code, ended.err, ended.trained) == (0, "", [])
    assert not list(tmp_path.iterdir())


def test_cfg_prints_the_config_of_a_reading_command_too(command):
    ended = command("command=diff", "against=grpo/v1", "--cfg", "job")
    assert ended.exit_code == 0
    assert "against: grpo/v1" in ended.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["command=report", "runs=.", "report.folder="], "report.folder must not be empty"),
        (["command=diff", "against=/no/where"], "against=/no/where: there is no such recipe or "
         "folder (valid: "),
        (["command=diff", "against=grpo/v11"], "against=grpo/v11: there is no such recipe or "
         "folder; did you mean 'grpo/v1'? (valid: "),
        (["command=diff", "recipe=grpo/v11", "against=grpo/v1"], "unknown recipe 'grpo/v11'; did "
         "you mean 'grpo/v1'? (valid: "),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(arguments, message, command, tmp_path):
    ended = command(*arguments)
    [line] = ended.messages
    assert line.startswith(message)
    assert (ended.exit_code, ended.out, ended.trained) == (2, "", [])
    assert not list(tmp_path.iterdir())

"""The page and the pictures, without a browser."""

import re
from html.parser import HTMLParser

import matplotlib.image
import pytest
from report.synthetic_runs import SyntheticRun

from slime.config.schema import ConfigError
from slime.report.command import write_report

LARGEST_PAGE, LARGEST_PICTURE = 2_000_000, 150_000  # bytes


class Page(HTMLParser):
    """Tables as lists of rows, and everything that could be fetched."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.sources, self.text = {}, [], text
        self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.sources += [v for k, v in attributes.items() if k in ("src", "href", "srcset")]
        if tag == "table":
            self._rows = self.tables.setdefault(attributes["id"], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._rows[-1].append(self._cell.strip())
            self._cell = None


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two recipes, three seeds; one run unfinished, one of another commit."""
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    for number, (aggregation, top) in enumerate((("sample_mean", 0.6), ("<token> & mean", 0.7))):
        for seed in range(3):
            SyntheticRun(
                seed=seed,
                top=top,
                values={"loss.aggregation": aggregation},
                stops_after=15 if (number, seed) == (1, 2) else None,
                commit=("d" if number and seed == 1 else "c") * 40,
            ).write(folder / str(3 * number + seed))
    return folder


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    assert write_report([sweep], folder) == 0
    return folder


@pytest.fixture(scope="module")
def page(report):
    return Page((report / "index.html").read_text())


def test_every_table_has_a_row_for_what_it_is_about(page):
    rows = {name: len(table) - 1 for name, table in page.tables.items()}
    assert rows["final"] == 2
    assert rows["pairs"] == 1
    assert rows["scaling"] == 2
    assert rows["time"] == 2
    assert rows["keys"] == 1
    assert rows["runs"] == 6


def test_the_numbers_of_a_table_are_rounded_and_labels_are_escaped(page):
    [_, first, second] = page.tables["final"]
    assert first[0] == "sample_mean"
    assert second[0] == "<token> & mean"
    assert re.fullmatch(r"0\.\d{3}", first[1])
    assert re.fullmatch(r"\d\.\d{3} to \d\.\d{3}", first[2])
    assert len(first[3].split(" · ")) == 3
    assert len(second[3].split(" · ")) == 2


def test_the_unfinished_run_and_the_other_commit_are_warned_of(page):
    assert "5 (15 of 24 iterations)" in page.text
    assert "cccccccccc (5 runs), dddddddddd (1 runs)" in page.text


def test_nothing_is_fetched(page):
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)
    assert "<script" not in page.text
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_page_and_pictures_are_small_and_pictures_hold_something(report):
    assert (report / "index.html").stat().st_size < LARGEST_PAGE
    pictures = sorted(report.glob("*.png"))
    assert {p.stem for p in pictures} >= {
        "reward-sampled", "reward-held-out", "final-rewards", "differences", "scaling", "time",
        "recipe-1", "recipe-2", "train-entropy", "train-grad-norm",
    }  # fmt: skip
    for picture in pictures:
        assert picture.stat().st_size < LARGEST_PICTURE, picture.name
        assert matplotlib.image.imread(picture).std() > 0.03, picture.name


def test_a_metric_that_is_zero_throughout_is_named_and_not_drawn(page, report):
    assert not (report / "train-kl.png").exists()
    assert "KL to the reference" in page.text.partition("Zero or not recorded")[2]


def test_the_same_runs_give_the_same_page(sweep, report, tmp_path):
    write_report([sweep], tmp_path)
    assert (tmp_path / "index.html").read_text() == (report / "index.html").read_text()


def test_one_run_of_an_older_version_has_a_page_with_what_there_is(tmp_path, capsys):
    run = SyntheticRun(
        keeps_answers=False,
        lacks=("rollout/rollouts", "time/iteration_s", "train/entropy", "train/skipped"),
        interval=24,
    ).write(tmp_path / "old")
    assert write_report([run], tmp_path / "report") == 0
    page = Page((tmp_path / "report" / "index.html").read_text())
    assert "time" not in page.tables
    assert "pairs" not in page.tables
    assert "iterations trained" in page.text  # the compute axis, for want of tokens
    assert "report of 1 runs" in capsys.readouterr().out


def test_a_run_that_has_only_begun_is_drawn(tmp_path):
    SyntheticRun(stops_after=2).write(tmp_path / "run")
    assert write_report([tmp_path / "run"], tmp_path / "report") == 0
    page = Page((tmp_path / "report" / "index.html").read_text())
    assert page.tables["final"][1][1] == "—"
    assert "not fitted: too few points" in page.text


def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path):
    SyntheticRun(stops_after=2).write(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write to .*/file/x \(not a directory\): pass r"):
        write_report([tmp_path / "run"], tmp_path / "file" / "x")


def test_no_run_is_a_config_error_and_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="nothing to report"):
        write_report([tmp_path], tmp_path / "report")
    assert not (tmp_path / "report").exists()

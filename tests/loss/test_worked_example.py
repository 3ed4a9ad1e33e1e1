import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "loss.md"


def test_the_worked_example_in_the_docs_gives_what_it_says():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert (failed, tried > 10) == (0, True)

"""A function of the user's own is looked at in its file before anything is run."""

import sys

import pytest

from slime.config.function_source import source_problems

MODULE = """
import os
from json import dumps as to_text

raise_if_run = 1 / 0

def right(response, answer, more=None): ...
def any_number(*arguments): ...
def one(response): ...
def three(a, b, c): ...
def needs_a_name(a, b, *, c): ...
@property
def decorated(): ...
class Scorer: ...
made = lambda *a: 0
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(text, name="users_own"):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def problems(path):
    return list(source_problems("reward.function", path, "response", "answer"))


@pytest.mark.parametrize(
    "name", ["right", "any_number", "decorated", "Scorer", "made", "to_text", "os"]
)
def test_what_may_be_right_is_left_to_whoever_calls_it(name, module):
    assert problems(f"{module(MODULE)}:{name}") == []
    assert "users_own" not in sys.modules


def test_a_name_that_no_line_gives(module):
    assert problems(f"{module(MODULE)}:wrong") == [
        "reward.function=users_own:wrong: users_own has no wrong"
    ]


@pytest.mark.parametrize(
    ("name", "taken"), [("one", "response"), ("three", "a, b, c"), ("needs_a_name", "a, b, *, c")]
)
def test_a_function_that_is_called_otherwise(name, taken, module):
    assert problems(f"{module(MODULE)}:{name}") == [
        f"reward.function=users_own:{name} must take (response, answer), but takes ({taken})"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "from os import *",
        "def __getattr__(name): ...",
        "if True:\n    wrong = print",
        "try:\n    from x import wrong\nexcept ImportError:\n    wrong = None",
        "not python at all",
    ],
)
def test_a_module_that_may_have_more_is_not_judged(text, module):
    assert problems(f"{module(text, 'another')}:wrong") == []


def test_what_is_no_file_is_not_judged():
    assert problems("sys:wrong") == problems("users_own_package.nowhere:wrong") == []


def test_a_module_in_a_package_is_found_without_importing_the_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "__init__.py").write_text("1 / 0")
    (tmp_path / "package_of_mine" / "scoring.py").write_text("def one(a): ...")
    [said] = problems("package_of_mine.scoring:one")
    assert "must take (response, answer)" in said

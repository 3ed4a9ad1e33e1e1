from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slime.reward.answers import exact_match, first_number, last_number, number_of, numbers_in


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (" 41", ["41"]),
        ("27 + 14 = 41.", ["27", "14", "41"]),
        ("12-5", ["12", "5"]),
        ("12 -5", ["12", "-5"]),
        ("12 - 5", ["12", "5"]),
        ("(3)-2", ["3", "2"]),
        ("-7", ["-7"]),
        ("+7", ["7"]),
        ("x=-7", ["-7"]),
        ("\u22127 degrees", ["-7"]),
        ("7\u22123", ["7", "3"]),
        ("1,234,567.5", ["1234567.5"]),
        ("1,2", ["1", "2"]),
        ("1,2345", ["1", "2345"]),
        ("12,345", ["12345"]),
        ("1234,567", ["1234", "567"]),
        ("3.14", ["3.14"]),
        (".5", ["0.5"]),
        ("-.5", ["-0.5"]),
        ("5.", ["5"]),
        ("v1.2.3", ["1.2", "3"]),
        ("$5, 20%", ["5", "20"]),
        ("007", ["7"]),
        ("٣", []),
        ("none", []),
        ("", []),
    ],
)
def test_numbers_are_read_as_people_write_them(text, numbers):
    assert list(numbers_in(text)) == [Decimal(n) for n in numbers]


def test_the_first_and_the_last_number_count():
    assert first_number(" 41 because 27 + 14", "41") == 1.0
    assert last_number(" 41 because 27 + 14", "41") == 0.0
    assert first_number("27 + 14 = 41", "41") == 0.0
    assert last_number("27 + 14 = 41", "41") == 1.0
    assert first_number("", "41") == last_number("forty-one", "41") == 0.0


def test_numbers_are_compared_by_value():
    assert first_number("41.0", "41") == first_number("1,000", "1000") == 1.0
    assert first_number("4", "41") == first_number("-41", "41") == 0.0
    assert last_number("0.30", ".3") == 1.0


def test_an_exact_match_ignores_outer_white_space_only():
    assert exact_match(" Paris\n", "Paris") == 1.0
    assert exact_match("paris", "Paris") == exact_match("Paris.", "Paris") == 0.0


@pytest.mark.parametrize("answer", ["Paris", "", "1 2", "12-5", "four", "1e5"])
def test_an_answer_that_is_no_number_is_an_error(answer):
    with pytest.raises(ValueError, match="is not a number"):
        number_of(answer)


@given(st.integers(-(10**12), 10**12), st.booleans())
def test_any_integer_is_found_in_a_sentence(number, commas):
    text = f"{number:,}" if commas else str(number)
    assert first_number(f"It is {text}.", str(number)) == 1.0


@given(st.text(max_size=200))
def test_no_text_is_too_strange(text):
    assert first_number(text, "1") in (0.0, 1.0)
    assert last_number(text, "1") in (0.0, 1.0)


def test_a_long_row_of_digits_is_read_in_linear_time():
    assert first_number("1" * 100_000, "1") == 0.0
    assert first_number("1," * 50_000, "1") == 1.0

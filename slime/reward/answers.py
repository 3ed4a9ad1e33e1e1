"""The built-in rewards: pure functions (response, answer) -> 0.0 or 1.0."""

import re
from collections.abc import Iterator
from decimal import Decimal

# A sign counts only where no number or closing bracket stands before it: 12-5 is 12 and 5, not -5.
# Thousands commas count only in the right places: 1,234.5 is one number, 1,2 are two.
_NUMBER = re.compile(
    r"""
    (?P<sign> (?<![0-9.)\]]) [-+\u2212] )?
    (?P<digits> [0-9]{1,3} (?: ,[0-9]{3} )+ (?![0-9]) (?: \.[0-9]+ )?
              | [0-9]+ (?: \.[0-9]+ )?
              | (?<![0-9]) \.[0-9]+ )
    """,
    re.VERBOSE,
)


def numbers_in(text: str) -> Iterator[Decimal]:
    """Integers and decimals in order, with their sign and without thousands commas."""
    for match in _NUMBER.finditer(text):
        sign = "-" if match["sign"] in ("-", "\u2212") else ""
        yield Decimal(sign + match["digits"].replace(",", ""))


def number_of(answer: str) -> Decimal:
    """The number that an answer is.  Raises ValueError when it is anything else."""
    match = _NUMBER.fullmatch(answer.strip())
    if match is None:
        raise ValueError(f"the answer {answer!r} is not a number")
    return next(numbers_in(answer))


def first_number(response: str, answer: str) -> float:
    """1 if the first number in the response equals the answer (14.0 equals 14), else 0."""
    wanted = number_of(answer)
    return float(next(numbers_in(response), None) == wanted)


def last_number(response: str, answer: str) -> float:
    """1 if the last number in the response equals the answer (14.0 equals 14), else 0."""
    wanted = number_of(answer)
    last = None
    for last in numbers_in(response):  # noqa: B007
        pass
    return float(last == wanted)


def exact_match(response: str, answer: str) -> float:
    """1 if the response is the answer, outer white space aside, else 0."""
    return float(response.strip() == answer.strip())

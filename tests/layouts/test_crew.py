import math
import operator
from collections.abc import Iterator

import pytest
from layouts.crew import Crew


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew(2)
    yield crew
    crew.dismiss()


def test_every_process_answers_every_call(crew):
    assert crew(operator.add, 10) == [10, 11]
    assert crew(operator.mul, 10) == [0, 10]


def test_a_failure_is_that_of_the_process_and_the_next_call_starts_anew(crew):
    with pytest.raises(AssertionError, match=r"process 0:\n(.*\n)*ValueError"):
        crew(math.log)
    assert crew(operator.add, 10) == [10, 11]

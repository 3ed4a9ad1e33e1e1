from collections.abc import Iterator
from pathlib import Path

import pytest
from layouts.crew import Crew
from layouts.layouts import Trainers
from tiny_models import write_tiny_model

FAMILIES = ("llama", "qwen3")  # untied; tied, with norms of queries and keys


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: write_tiny_model(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")  # not longer: other tests count the processes that they see
def pair() -> Iterator[Trainers]:
    yield from _trainers(2)


@pytest.fixture(scope="module")
def four() -> Iterator[Trainers]:
    yield from _trainers(4)


def _trainers(size: int) -> Iterator[Trainers]:
    crew = Crew(size)
    yield Trainers(crew)
    crew.dismiss()

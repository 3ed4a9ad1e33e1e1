"""A pytest plugin: hypothesis stops at the first failure, because that there is one is enough."""

from hypothesis import Phase, settings

settings.register_profile(
    "unshrunk", deadline=None, max_examples=50, phases=(Phase.explicit, Phase.generate)
)


def pytest_configure() -> None:
    """After the profile of tests/conftest.py, before the tests are imported."""
    settings.load_profile("unshrunk")

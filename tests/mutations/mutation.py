"""One way to get the loss wrong, and the test that notices."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """In `file` the text `old`, which occurs once, becomes `new`; then `caught_by` must fail.

    caught_by: a pytest node id, the fastest test that notices.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: str

    def applied_to(self, text: str) -> str:
        """Raises ValueError unless the text to change is there exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(
                f"{self.name}: {self.file} has the text to change {found} times: {self.old!r}"
            )
        return text.replace(self.old, self.new)

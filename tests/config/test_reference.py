"""docs/config.md: every key, from the schemas, and never out of date."""

import dataclasses
import re

import pytest

from slime.config.groups import GROUPS, RECIPE
from slime.config.keys import every_field, every_key, join
from slime.config.reference import COMMAND, PAGE, page
from slime.config.schema import ConstantLoss

FIELDS = list(every_field())
VERSION = re.compile(r"0\.[123]")


@pytest.fixture(scope="module")
def text():
    return page()


def rows(text, key):
    """[type, default, unit, meaning, since, fingerprint] of each row of the key."""
    lines = [line for line in text.splitlines() if line.startswith(f"| `{key}`")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:-1]] for line in lines]


def test_the_page_is_what_the_schemas_say(text):
    assert PAGE.read_text(encoding="utf-8") == text, f"docs/config.md is out of date: run {COMMAND}"


def test_every_group_every_choice_and_every_key_has_its_place(text):
    for group in GROUPS:
        section = text.partition(f"\n## `{group.name}`\n")[2].partition("\n## ")[0]
        listed = re.findall(r"^\| (?:\*\*)?`(\w+)`", section, re.M)
        assert listed == group.options
    assert f"\n## `{RECIPE}`\n" in text
    assert all(rows(text, join(*place)) for place in every_key())


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("iterations", ["a whole number", "`20`", "iterations", "", "0.1", "yes"]),
        ("loss.mask_truncated", ["true or false", "`false`", "", "", "0.1", "yes"]),
        ("rollout.max_response_tokens", ["a whole number", "`8`", "tokens", "", "0.1", "yes"]),
        ("rollout.save", ["a text or null", "`null`", "", "", "0.1", "no"]),
        ("task.path", ["a text", "*required*", "", "", "0.1", "yes"]),
        ("loss.empty_units", [r"`count` \| `drop`", "`count`", "", "", "0.1", "yes"]),
        ("parallel.tensor", ["a whole number", "`1`", "workers", "", "0.1", "no"]),
        ("cluster.rendezvous_port", ["a whole number", "`0`", "", "", "0.1", "no"]),
        (
            "loss.objective.dual_clip",
            ["a number or null", "`null`", "", "", "0.2", "unless `null`"],
        ),
        ("loss.kl.place", [r"`loss` \| `reward`", "`loss`", "", "", "0.2", "unless `loss`"]),
        ("seed", ["a whole number", "`0`", "", "", "0.1", "yes"]),
        ("runs", ["a list of texts", "`[]`", "", "", "0.2", "no"]),
    ],
)
def test_a_row_says_type_default_unit_version_and_whether_it_trains(key, row, text):
    [found] = rows(text, key)
    assert found[3]
    assert [*found[:3], "", *found[4:]] == row


def test_choices_with_other_defaults_have_rows_of_their_own(text):
    """dr_grpo is the class of constant, with a divisor; GSPO clips elsewhere than PPO."""
    assert [row[1] for row in rows(text, "loss.divisor")] == [
        "*required*",
        "`${rollout.max_response_tokens}`",
    ]
    assert "`loss.divisor`<br>(constant)" in text
    assert "`loss.objective.clip_low`<br>(gspo)" in text


def test_every_key_says_what_it_means_and_since_when():
    for node, _, field in FIELDS:
        assert field.metadata["meaning"].strip(), join(node, field.name)
        assert VERSION.fullmatch(field.metadata["since"]), join(node, field.name)
        assert isinstance(field.metadata["unit"], str)


def test_a_key_that_counts_tokens_or_seconds_says_so():
    for node, _, field in FIELDS:
        for unit in ("tokens", "seconds"):
            counts = field.type is int or unit == "seconds"
            if counts and re.search(rf"(^|_){unit}($|_)", field.name):
                assert field.metadata["unit"] == unit, join(node, field.name)


def test_a_key_without_a_meaning_could_not_hide():
    """The tests above see every field of every class."""
    seen = {field.name for _, schema, field in FIELDS if schema is ConstantLoss}
    fields = {field.name for field in dataclasses.fields(ConstantLoss)}
    assert fields - seen == {"aggregation", "objective", "kl", "correction"}

"""Effective weights, against numbers worked out on paper."""

import pytest
from groups import group

from slime.check.modes import mode_name, weigh
from slime.check.plan_by_hand import items
from slime.check.shares import rollout_pulls, shares
from slime.config.schema import (
    GSPO,
    ConstantLoss,
    CustomLoss,
    DrGrpoAdvantage,
    PromptMeanLoss,
    SampleMeanLoss,
)

# 10 rollouts with |advantage| 1/2, of 1 to 10 tokens; a prompt that pulls nowhere; an empty one.
STEP = items(
    [
        group(1, [1.0, 0.0], [1, 2]),
        group(2, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [3, 4, 5, 6, 7, 8, 9, 10]),
        group(3, [0.5, 0.5], [100, 1]),
        group(4, [1.0, 0.0], [0, 0]),
    ],
    SampleMeanLoss(),
    DrGrpoAdvantage(),
)


def of(loss):
    return shares(STEP, weigh(STEP, loss, 8)[0])


def test_under_sample_mean_every_rollout_pulls_alike():
    found = of(SampleMeanLoss())
    assert (found.shortest_decile, found.longest_decile) == pytest.approx((0.1, 0.1))
    assert (found.smallest_prompt, found.largest_prompt) == pytest.approx((0.2, 0.8))
    assert found.total_pull == pytest.approx(10 * 0.5 / 14)


def test_under_a_constant_every_token_does():
    found = of(ConstantLoss(divisor=7.0))
    assert (found.shortest_decile, found.longest_decile) == pytest.approx((1 / 55, 10 / 55))
    assert (found.smallest_prompt, found.largest_prompt) == pytest.approx((3 / 55, 52 / 55))
    assert found.total_pull == pytest.approx(55 * 0.5 / (14 * 7))


def test_under_prompt_mean_every_prompt_does():
    found = of(PromptMeanLoss())
    assert (found.smallest_prompt, found.largest_prompt) == pytest.approx((0.5, 0.5))


def test_rollouts_of_equal_length_share_a_decile():
    """Two rollouts of one token, one of which pulls three times as hard: half of both is taken."""
    step = items(
        [group(1, [1.0, 0.0], [1, 2]), group(2, [3.0, 0.0], [1, 2])],
        SampleMeanLoss(),
        DrGrpoAdvantage(),
    )
    found = shares(step, weigh(step, SampleMeanLoss(), 8)[0])
    assert found.shortest_decile == pytest.approx(0.1)  # 0.4 rollouts of mean pull 1/4
    assert found.smallest_prompt == found.largest_prompt == pytest.approx(0.5)


def test_a_step_without_any_pull_has_no_shares():
    step = items([group(1, [1.0, 1.0], [3, 4])], SampleMeanLoss(), DrGrpoAdvantage())
    found = shares(step, weigh(step, SampleMeanLoss(), 8)[0])
    assert (found.shortest_decile, found.largest_prompt, found.total_pull) == (0, 0, 0)


def test_a_rollout_s_weight_is_that_of_all_its_tokens():
    pulls = rollout_pulls(STEP, weigh(STEP, ConstantLoss(divisor=7.0), 8)[0])
    assert [pull.active_tokens for pull in pulls] == [*range(1, 11), 100, 1]
    assert [pull.weight for pull in pulls] == pytest.approx(
        [n / 98 for n in [*range(1, 11), 100, 1]]
    )


def test_the_other_modes_are_those_that_would_be_legal():
    def names(loss):
        return [mode.name for mode in weigh(STEP, loss, 8)]

    assert names(PromptMeanLoss()) == [
        "prompt_mean",
        "sample_mean",
        "token_mean",
        "constant, L = 8",
    ]
    assert names(ConstantLoss(divisor=0.5)) == [
        "constant, L = 0.5", "sample_mean", "prompt_mean", "token_mean",
    ]  # fmt: skip
    assert names(SampleMeanLoss(objective=GSPO())) == ["sample_mean"]


def test_a_custom_mode_is_named_by_its_function():
    assert mode_name(CustomLoss(function="pkg.mod:fn")) == "custom, pkg.mod:fn"

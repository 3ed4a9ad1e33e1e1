"""The formulas that the planner is measured against, against numbers worked out on paper."""

from dataclasses import replace
from fractions import Fraction

import pytest
from groups import group, sample

from slime.check.plan_by_hand import item_weights, items, trained
from slime.config.schema import (
    K3,
    AuxiliaryAggregation,
    ConstantLoss,
    DrGrpoAdvantage,
    EmptyUnits,
    GrpoAdvantage,
    KLConfig,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.data import Finish

# Prompt 1: rollouts of 2 and 6 active tokens.  Prompt 2: one that fans out into 1 and 3 (and 2
# masked ones), and an empty one.
FAN_OUT = group(2, [1.0, 0.0], [1, 0])
FAN_OUT = replace(
    FAN_OUT,
    rollouts=(
        replace(FAN_OUT.rollouts[0], samples=(sample(2, 200, 1), sample(2, 200, 3, masked=2))),
        FAN_OUT.rollouts[1],
    ),
)
STEP = [group(1, [1.0, 0.0], [2, 6]), FAN_OUT]
SAMPLE_MEAN = [(4, 2), (4, 6), (4, 4), (4, 4), None]  # N * M_rollout
PROMPT_MEAN = [(2, 8), (2, 8), (2, 4), (2, 4), None]  # P * M_prompt
TOKEN_MEAN = [(1, 12)] * 4 + [None]  # M_step


def of(loss, groups=STEP):
    return items(groups, loss, DrGrpoAdvantage())


def one_over(pairs):
    return [0.0 if p is None else float(Fraction(1, p[0] * p[1])) for p in pairs]


@pytest.mark.parametrize(
    ("loss", "policy", "auxiliary"),
    [
        (SampleMeanLoss(), SAMPLE_MEAN, SAMPLE_MEAN),
        (PromptMeanLoss(), PROMPT_MEAN, SAMPLE_MEAN),
        (TokenMeanLoss(), TOKEN_MEAN, TOKEN_MEAN),
        (ConstantLoss(divisor=100.0), [(4, 100)] * 4 + [None], SAMPLE_MEAN),
        (
            PromptMeanLoss(auxiliary_aggregation=AuxiliaryAggregation.same),
            PROMPT_MEAN,
            PROMPT_MEAN,
        ),
        (
            SampleMeanLoss(auxiliary_aggregation=AuxiliaryAggregation.token_mean),
            SAMPLE_MEAN,
            TOKEN_MEAN,
        ),
        (
            TokenMeanLoss(auxiliary_aggregation=AuxiliaryAggregation.prompt_mean),
            TOKEN_MEAN,
            PROMPT_MEAN,
        ),
        (
            SampleMeanLoss(empty_units=EmptyUnits.drop),
            [(3, 2), (3, 6), (3, 4), (3, 4), None],
            [(3, 2), (3, 6), (3, 4), (3, 4), None],
        ),
        (
            ConstantLoss(divisor=100.0, empty_units=EmptyUnits.drop),
            [(3, 100)] * 4 + [None],
            [(3, 2), (3, 6), (3, 4), (3, 4), None],
        ),
    ],
)
def test_the_weights_are_those_of_the_table(loss, policy, auxiliary):
    weights = item_weights(of(loss), loss)
    assert [w.policy for w in weights] == pytest.approx(one_over(policy), rel=1e-12)
    assert [w.auxiliary for w in weights] == pytest.approx(one_over(auxiliary), rel=1e-12)


def test_prompts_and_rollouts_are_numbered_and_fan_out_shares_an_advantage():
    step = of(SampleMeanLoss())
    assert [item.prompt for item in step] == [0, 0, 1, 1, 1]
    assert [item.rollout for item in step] == [0, 1, 2, 2, 3]
    assert [item.advantage for item in step] == [0.5, -0.5, 0.5, 0.5, -0.5]


def test_advantages_are_those_of_the_papers():
    groups = [group(1, [1.0, 0.0, 0.5], [1, 1, 1]), group(2, [0.1, 0.1, 0.1], [1, 1, 1])]
    grpo = items(groups, SampleMeanLoss(), GrpoAdvantage(epsilon=0.25))
    # the standard deviation of 1, 0, 0.5 (divided by G - 1) is 0.5
    assert [item.advantage for item in grpo] == pytest.approx([2 / 3, -2 / 3, 0, 0, 0, 0])
    assert [item.advantage for item in grpo[3:]] == [0.0, 0.0, 0.0]
    assert [item.advantage for item in of(SampleMeanLoss(), groups)[:3]] == [0.5, -0.5, 0.0]


@pytest.mark.parametrize("finish", [Finish.length, Finish.aborted])
def test_mask_truncated_masks_whole_rollouts_that_did_not_end(finish):
    cut = replace(STEP[0], rollouts=(replace(STEP[0].rollouts[0], finish=finish),))
    cut = replace(cut, rollouts=(*cut.rollouts, STEP[0].rollouts[1]))
    assert [i.active for i in of(SampleMeanLoss(mask_truncated=True), [cut])] == [0, 6]
    assert [i.active for i in of(SampleMeanLoss(), [cut])] == [2, 6]


def test_what_goes_through_the_model():
    groups = [*STEP, group(3, [0.5, 0.5], [1, 1])]
    busy = [True, True, True, True, False, False, False]
    plain = SampleMeanLoss(kl=KLConfig())
    assert trained(of(plain, groups), plain) == busy
    everything = [
        SampleMeanLoss(kl=K3()),
        SampleMeanLoss(entropy_coefficient=0.1),
        SampleMeanLoss(skip_idle_samples=False),
    ]
    for loss in everything:
        assert trained(of(loss, groups), loss) == [True] * 7
    assert trained(of(plain, groups[2:]), plain) == [True, False]  # none is busy: one is taken

"""The formulas that the planner is measured against, against numbers worked out on paper."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial

import pytest
import torch
from groups import group, sample

from slime.check.plan_by_hand import PolicyLogProbs, item_weights, items, trained
from slime.config.schema import (
    K1,
    K2,
    K3,
    AuxiliaryAggregation,
    ConstantAdvantage,
    ConstantLoss,
    DrGrpoAdvantage,
    EmptyUnits,
    GrpoAdvantage,
    KLConfig,
    KLPlace,
    PromptMeanLoss,
    ReinforcePlusPlusAdvantage,
    RlooAdvantage,
    SampleMeanLoss,
    TokenMeanLoss,
    Whitening,
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
    first = [item.advantages[-1:] for item in step]
    assert first == [(0.5,), (-0.5,), (0.5,), (0.5,), ()]
    assert step[3].advantages == (0.0, 0.0, 0.5, 0.5, 0.5)  # after two masked tokens


def test_advantages_are_those_of_the_papers():
    groups = [group(1, [1.0, 0.0, 0.5], [1, 1, 1]), group(2, [0.1, 0.1, 0.1], [1, 1, 1])]
    grpo = items(groups, SampleMeanLoss(), GrpoAdvantage(epsilon=0.25))
    # the standard deviation of 1, 0, 0.5 (divided by G - 1) is 0.5
    assert firsts(grpo) == pytest.approx([2 / 3, -2 / 3, 0, 0, 0, 0])
    assert firsts(grpo[3:]) == [0.0, 0.0, 0.0]
    assert firsts(of(SampleMeanLoss(), groups)[:3]) == [0.5, -0.5, 0.0]
    rloo = items(groups, SampleMeanLoss(), RlooAdvantage())
    assert firsts(rloo) == [0.75, -0.75, 0.0, 0.0, 0.0, 0.0]
    constant = items(groups, SampleMeanLoss(), ConstantAdvantage(value=3.0))
    assert firsts(constant) == [3.0] * 6


def firsts(step):
    return [item.advantages[0] for item in step]


def test_shaping_is_part_of_the_reward():
    first, second = STEP[0].rollouts
    shaped = replace(STEP[0], rollouts=(replace(first, shaping=-0.5), second))
    assert firsts(of(SampleMeanLoss(), [shaped])) == [0.25, -0.25]


def test_whitening_is_over_active_tokens_or_over_rollouts():
    groups = [group(1, [1.0, 0.0], [3, 1])]
    plus = partial(ReinforcePlusPlusAdvantage, whitening_epsilon=1e-12)
    tokens = items(groups, SampleMeanLoss(), plus())
    root = (3 / 16) ** 0.5  # of 1, 1, 1, 0: their mean is 3/4
    assert tokens[0].advantages == pytest.approx([0.25 / root] * 3)
    assert tokens[1].advantages == pytest.approx([-0.75 / root])
    rollouts = items(groups, SampleMeanLoss(), plus(whitening=Whitening.rollouts))
    assert firsts(rollouts) == pytest.approx([1.0, -1.0])
    equal = items([group(1, [0.1, 0.1, 0.1], [3, 1, 1])], SampleMeanLoss(), plus())
    assert firsts(equal) == [0.0, 0.0, 0.0]


# The KL of the old policy to the reference: 0.25 and 0.5 for the two active tokens of the sample
# of rollout 200 that has a masked one between, 1 for the token of its other sample.
KL_GROUP = group(2, [1.0, 0.0], [1, 0])
KL_GROUP = replace(
    KL_GROUP,
    rollouts=(
        replace(
            KL_GROUP.rollouts[0],
            samples=(
                replace(sample(2, 200, 3), loss_mask_R=torch.tensor([True, False, True])),
                sample(2, 200, 1),
            ),
        ),
        KL_GROUP.rollouts[1],
    ),
)
OLD = [torch.tensor([0.25, 9.0, 0.5]), torch.tensor([1.0]), torch.tensor([])]
LOG_PROBS = [PolicyLogProbs(old, torch.zeros_like(old)) for old in OLD]


def paying(advantage, kl):
    found = items([KL_GROUP], SampleMeanLoss(kl=kl), advantage, LOG_PROBS)
    return [item.advantages for item in found]


def test_a_kl_in_the_reward_is_taken_off_all_of_a_rollout_s_samples():
    """The rewards are 1 - 2 * 1.75 and 0."""
    found = paying(DrGrpoAdvantage(), K1(coefficient=2.0, place=KLPlace.reward))
    assert found == [(-1.25, 0.0, -1.25), (-1.25,), ()]


def test_under_reinforce_plus_plus_a_token_pays_for_itself_and_those_after_it():
    plus = ReinforcePlusPlusAdvantage(whitening=Whitening.none)
    found = paying(plus, K1(coefficient=2.0, place=KLPlace.reward))
    assert found == [(1 - 3.5, 0.0, 1 - 3.0), (1 - 2.0,), ()]


@pytest.mark.parametrize(
    ("kl", "of_last"),
    [(K1, 1.0), (K2, 0.5), (K3, math.exp(-1.0) - 1 + 1)],
)
def test_the_kl_estimates_of_the_reward(kl, of_last):
    """old - reference = 1: r = reference / old = 1 / e"""
    plus = ReinforcePlusPlusAdvantage(whitening=Whitening.none)
    found = paying(plus, kl(coefficient=0.5, place=KLPlace.reward))
    assert found[1] == pytest.approx((1 - 0.5 * of_last,))


def test_a_kl_in_the_loss_costs_no_reward():
    assert paying(DrGrpoAdvantage(), K1(coefficient=2.0)) == [(0.5, 0.0, 0.5), (0.5,), ()]


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

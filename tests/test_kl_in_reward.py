"""The KL in the reward: planned steps, log-prob passes, and only then advantages."""

import math
from dataclasses import replace
from random import Random

import pytest
import torch
from advantage.formulas import Token, Told, dr_grpo, groups_of, reinforce_plus_plus, steps
from groups import group
from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import (
    K1,
    K2,
    K3,
    DrGrpoAdvantage,
    IncompleteStep,
    KLPlace,
    ReinforcePlusPlusAdvantage,
    SampleMeanLoss,
    Whitening,
)
from slime.data import Finish
from slime.data.step import kl_penalty_mean
from slime.kl_in_reward import build_kl_in_reward
from slime.plan import build_planner

COEFFICIENT = 0.5
PLUS = ReinforcePlusPlusAdvantage(whitening=Whitening.none)

# r = reference / old
ESTIMATES = {
    K1: lambda r: -math.log(r),
    K2: lambda r: math.log(r) ** 2 / 2,
    K3: lambda r: r - 1 - math.log(r),
}


def kl_of(kind):
    return kind(coefficient=COEFFICIENT, place=KLPlace.reward)


def planned(groups, kl, advantage, **loss):
    plan = build_planner(SampleMeanLoss(kl=kl, **loss), advantage, 1, IncompleteStep.refuse)
    [step] = plan(groups)
    return step


def with_log_probs(step, random):
    """As the trainer attaches them, to every response token, masked or not."""

    def drawn(sample):
        return torch.tensor([random.uniform(-3, 0) for _ in sample.sample.response_tokens_R])

    return replace(
        step,
        samples=tuple(
            replace(s, old_log_probs_R=drawn(s), reference_log_probs_R=drawn(s))
            for s in step.samples
        ),
    )


def told_with_penalties(step, groups, estimate):
    """The groups as the formulas read them, each token with what it costs."""
    samples = iter(step.samples)

    def told(rollout):
        tokens = []
        for _ in rollout.samples:
            train = next(samples)
            old, reference = train.old_log_probs_R.tolist(), train.reference_log_probs_R.tolist()
            tokens.append(
                [
                    Token(active, COEFFICIENT * estimate(math.exp(after - before)))
                    for active, before, after in zip(
                        train.sample.loss_mask_R.tolist(), old, reference, strict=True
                    )
                ]
            )
        return Told(rollout.reward, rollout.shaping, tokens)

    return [[told(rollout) for rollout in group.rollouts] for group in groups]


def values(step):
    return [value for sample in step.samples for value in sample.advantages_R.tolist()]


@pytest.mark.parametrize("kind", ESTIMATES)
@given(step=steps, seed=st.integers(0, 1000))
def test_a_group_is_compared_by_what_is_left_of_its_rewards(kind, step, seed):
    groups, kl = groups_of(step), kl_of(kind)
    ready = with_log_probs(planned(groups, kl, DrGrpoAdvantage()), Random(seed))
    [filled] = build_kl_in_reward(kl, DrGrpoAdvantage())([ready])
    expected = []
    for rollouts in told_with_penalties(ready, groups, ESTIMATES[kind]):
        paid = [rollout.paid for rollout in rollouts]
        for rollout in rollouts:
            expected += [
                dr_grpo(paid, rollout.paid) if token.active else 0.0 for token in rollout.tokens
            ]
    assert values(filled) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", ESTIMATES)
@given(step=steps, seed=st.integers(0, 1000))
def test_under_reinforce_plus_plus_a_token_pays_for_itself_and_those_after_it(kind, step, seed):
    groups, kl = groups_of(step), kl_of(kind)
    ready = with_log_probs(planned(groups, kl, PLUS), Random(seed))
    [filled] = build_kl_in_reward(kl, PLUS)([ready])
    expected = [
        reinforce_plus_plus(rollout, t) if token.active else 0.0
        for rollouts in told_with_penalties(ready, groups, ESTIMATES[kind])
        for rollout in rollouts
        for t, token in enumerate(rollout.tokens)
    ]
    assert values(filled) == pytest.approx(expected, rel=1e-5, abs=1e-5)


GROUPS = [group(1, [1.0, 0.0], [2, 3]), group(2, [1.0, 1.0], [1, 4])]


def test_until_the_log_probs_are_there_no_advantage_is_a_number():
    step = planned(GROUPS, kl_of(K1), DrGrpoAdvantage())
    assert all(math.isnan(value) for value in values(step))
    assert len(step.samples) == 4  # the second group's rewards are equal, and may not stay so


def test_what_the_step_fixed_stays():
    step = planned(GROUPS, kl_of(K3), DrGrpoAdvantage())
    in_loss = planned(GROUPS, K3(coefficient=COEFFICIENT), DrGrpoAdvantage())
    ready = with_log_probs(step, Random(0))
    [filled] = build_kl_in_reward(kl_of(K3), DrGrpoAdvantage())([ready])
    assert [s.weight for s in filled.samples] == [s.weight for s in in_loss.samples]
    assert (filled.rollouts, filled.prompts, filled.active_tokens) == (4, 2, 10)
    for before, after in zip(ready.samples, filled.samples, strict=True):
        assert after.sample is before.sample
        assert after.old_log_probs_R is before.old_log_probs_R


def test_what_was_taken_off_is_a_mean_over_rollouts():
    ready = with_log_probs(planned(GROUPS, kl_of(K1), PLUS), Random(0))
    filled = build_kl_in_reward(kl_of(K1), PLUS)([ready, ready])
    logs = [(s.old_log_probs_R, s.reference_log_probs_R) for s in ready.samples]
    paid = COEFFICIENT * sum((old_R - reference_R).sum().item() for old_R, reference_R in logs)
    assert kl_penalty_mean(filled) == pytest.approx(paid / 4, rel=1e-5)
    assert kl_penalty_mean([]) == kl_penalty_mean([ready]) == 0.0
    assert kl_penalty_mean([replace(ready, kl_penalty=math.nan)]) is None


def test_where_old_and_reference_agree_advantages_are_those_of_the_rewards():
    def agreeing(sample):
        log_probs_R = torch.full(sample.sample.loss_mask_R.shape, -0.7)
        return replace(sample, old_log_probs_R=log_probs_R, reference_log_probs_R=log_probs_R)

    step = planned(GROUPS, kl_of(K2), DrGrpoAdvantage())
    ready = replace(step, samples=tuple(map(agreeing, step.samples)))
    [filled] = build_kl_in_reward(kl_of(K2), DrGrpoAdvantage())([ready])
    free = planned(GROUPS, K2(), DrGrpoAdvantage())
    assert values(filled) == values(free)


def test_a_rollout_that_mask_truncated_masks_pays_nothing_and_stays_in_the_baseline():
    first, second = GROUPS[0].rollouts
    cut = [replace(GROUPS[0], rollouts=(replace(first, finish=Finish.length), second))]
    step = planned(cut, kl_of(K1), DrGrpoAdvantage(), mask_truncated=True)
    ready = with_log_probs(step, Random(0))
    [filled] = build_kl_in_reward(kl_of(K1), DrGrpoAdvantage())([ready])
    other = ready.samples[1]
    cost = COEFFICIENT * (other.old_log_probs_R - other.reference_log_probs_R).sum().item()
    assert values(filled) == pytest.approx([0.0, 0.0, *[(0 - cost - 1) / 2] * 3], rel=1e-5)


@pytest.mark.parametrize("missing", ["old_log_probs_R", "reference_log_probs_R"])
def test_a_sample_without_log_probs_is_an_error(missing):
    ready = with_log_probs(planned(GROUPS, kl_of(K1), PLUS), Random(0))
    torn = replace(
        ready, samples=(replace(ready.samples[0], **{missing: None}), *ready.samples[1:])
    )
    with pytest.raises(ValueError, match="a sample of rollout 100 does not have both"):
        build_kl_in_reward(kl_of(K1), PLUS)([torn])

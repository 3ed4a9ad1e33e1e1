"""Drawn log-probs meet every bound on both sides, and none so closely that rounding decides."""

import math

import pytest
import torch

from slime.check.off_policy import OffPolicy
from slime.config.schema import (
    CISPO,
    GSPO,
    PPO,
    SFT,
    TIS,
    CorrectionConfig,
    IcePop,
    Reinforce,
)

CURRENT = torch.linspace(-9, -0.1, 400, dtype=torch.float64)
ALL = torch.ones(400, dtype=torch.bool)


def sides(log_ratios, low, high):
    """How many are below, within and above, none of them at a bound."""
    for bound in (low, high):
        assert (log_ratios - bound).abs().min() > 1e-5
    below, above = (log_ratios < low).sum().item(), (log_ratios > high).sum().item()
    return below, len(log_ratios) - below - above, above


def test_ratios_are_on_both_sides_of_the_clip_range():
    old = OffPolicy(torch.float32, 0).old(CURRENT, ALL, PPO(clip_low=0.2, clip_high=0.3))
    found = sides(CURRENT - old.double(), math.log(0.8), math.log(1.3))
    assert min(found) > 50


def test_ratios_are_on_both_sides_of_a_dual_clip():
    objective = PPO(clip_low=0.2, clip_high=0.3, dual_clip=3.0)
    ratios = CURRENT - OffPolicy(torch.float32, 0).old(CURRENT, ALL, objective).double()
    assert min(sides(ratios, math.log(1.3), math.log(3.0))) > 50
    assert (ratios < math.log(0.8)).sum() > 50


def test_ratios_are_on_both_sides_of_where_cispo_truncates():
    one_sided = CURRENT - OffPolicy(torch.float32, 0).old(CURRENT, ALL, CISPO()).double()
    assert min(sides(one_sided, math.log(5), math.log(5))[::2]) > 100
    two_sided = CISPO(clip_low=0.5, clip_high=0.4)
    ratios = CURRENT - OffPolicy(torch.float32, 0).old(CURRENT, ALL, two_sided).double()
    assert min(sides(ratios, math.log(0.5), math.log(1.4))) > 50


@pytest.mark.parametrize("objective", [Reinforce(), SFT()])
def test_without_a_bound_ratios_are_merely_off(objective):
    ratios = CURRENT - OffPolicy(torch.float32, 0).old(CURRENT, ALL, objective).double()
    assert 0.1 < ratios.abs().mean() < 0.5


def test_sequence_ratios_are_too():
    draw = OffPolicy(torch.float32, 0)
    objective = GSPO(clip_low=3e-4, clip_high=4e-4)
    mask = torch.arange(400) % 3 > 0
    ratios = [CURRENT - draw.old(CURRENT, mask, objective).double() for _ in range(100)]
    means = torch.stack([ratio[mask].mean() for ratio in ratios])
    assert min(sides(means, math.log(1 - 3e-4), math.log(1 + 4e-4))) > 15
    assert ratios[0].std() > 0.2  # tokens differ from one another


@pytest.mark.parametrize("correction", [TIS(cap=2.0), TIS(cap=0.5)])
def test_engine_ratios_are_on_both_sides_of_the_cap(correction):
    rollout = OffPolicy(torch.float32, 0).rollout(CURRENT, correction)
    ratios = CURRENT - rollout.double()
    cap = math.log(correction.cap)
    assert min(sides(ratios, cap, cap)[::2]) > 100


def test_engine_ratios_are_on_both_sides_of_what_icepop_keeps():
    draw = OffPolicy(torch.float32, 0)
    ratios = CURRENT - draw.rollout(CURRENT, IcePop(low=0.5, high=5.0)).double()
    assert min(sides(ratios, math.log(0.5), math.log(5.0))) > 50
    ratios = CURRENT - draw.rollout(CURRENT, IcePop(low=0.0, high=5.0)).double()
    assert (ratios > math.log(5.0)).sum() > 50


def test_without_a_correction_they_are_merely_off():
    ratios = CURRENT - OffPolicy(torch.float32, 0).rollout(CURRENT, CorrectionConfig()).double()
    assert 0.1 < ratios.abs().mean() < 0.5


def test_bfloat16_stays_further_away():
    old = OffPolicy(torch.bfloat16, 0).old(CURRENT, ALL, PPO(clip_low=0.2, clip_high=0.2))
    for bound in (0.8, 1.2):
        assert (CURRENT - old.double() - math.log(bound)).abs().min() > 0.14


def test_a_sample_without_an_active_token_gets_log_probs_too():
    old = OffPolicy(torch.float32, 0).old(CURRENT, ~ALL, GSPO())
    assert old.isfinite().all()

"""The formulas that the loss is measured against, against numbers worked out on paper."""

import math

import pytest
import torch

from slime.check.terms_by_hand import LogProbs, sample_terms
from slime.config.schema import (
    CISPO,
    GSPO,
    K1,
    K2,
    K3,
    PPO,
    SFT,
    TIS,
    IcePop,
    KLConfig,
    Reinforce,
    SampleMeanLoss,
)


def terms(ratios, advantage, *, mask=None, mismatch=None, loss=None, entropy=0.0, on_policy=False):
    """advantage: of every token, or a list.  mismatch: old over rollout probabilities.

    -> terms, and d policy / d log-prob
    """
    count = len(ratios)
    loss = loss or SampleMeanLoss(kl=KLConfig(), objective=PPO(clip_low=0.2, clip_high=0.3))
    current = torch.tensor(ratios, dtype=torch.float64).log().requires_grad_()
    zeros = torch.zeros(count, dtype=torch.float64)
    old = current.detach() if on_policy else zeros
    log_probs = LogProbs(
        current_R=current,
        entropy_R=torch.full((count,), entropy, dtype=torch.float64),
        old_R=None if on_policy else zeros,
        rollout_R=old - torch.tensor(mismatch or [1.0] * count, dtype=torch.float64).log(),
        reference_R=None if type(loss.kl) is KLConfig else zeros + math.log(0.5),
    )
    advantages = advantage if isinstance(advantage, list) else [advantage] * count
    found = sample_terms(loss, log_probs, mask or [True] * count, advantages)
    [gradient] = torch.autograd.grad(found.policy, current, retain_graph=True)
    return found, gradient.tolist()


def test_ppo_clips_where_the_gradient_would_go_on():
    found, gradient = terms([1.1, 1.4, 0.5], 2.0)
    assert found.policy.item() == pytest.approx(-2 * (1.1 + 1.3 + 0.5))
    assert gradient == pytest.approx([-2.2, 0, -1.0])
    assert (found.sums.clip_fraction_low, found.sums.clip_fraction_high) == (0, 1)
    found, gradient = terms([1.1, 1.4, 0.5], -2.0)
    assert found.policy.item() == pytest.approx(2 * (1.1 + 1.4 + 0.8))
    assert gradient == pytest.approx([2.2, 2.8, 0])
    assert (found.sums.clip_fraction_low, found.sums.clip_fraction_high) == (1, 0)
    assert found.sums.ratio == pytest.approx(3.0)
    assert found.sums.absolute_policy == pytest.approx(2 * (1.1 + 1.4 + 0.8))


def test_every_token_has_an_advantage_of_its_own():
    found, gradient = terms([1.1, 1.4, 0.5], [2.0, -2.0, 9.0], mask=[True, True, False])
    assert found.policy.item() == pytest.approx(-2.2 + 2.8)
    assert gradient == pytest.approx([-2.2, 2.8, 0])


def test_masked_tokens_are_not_there():
    found, gradient = terms([1.1, 99.0], 2.0, mask=[True, False], entropy=3.0)
    assert found.policy.item() == pytest.approx(-2.2)
    assert gradient == pytest.approx([-2.2, 0])
    assert (found.sums.active_tokens, found.sums.entropy, found.entropy.item()) == (1, 3.0, 3.0)


def test_a_sample_without_an_active_token_is_zero_and_differentiable():
    found, gradient = terms([1.1, 1.4], 2.0, mask=[False, False])
    assert (found.policy.item(), gradient, found.sums.active_tokens) == (0, [0, 0], 0)


def test_on_policy_the_ratio_is_one():
    found, gradient = terms([0.1, 0.7], 2.0, on_policy=True)
    assert found.policy.item() == -4.0
    assert gradient == pytest.approx([-2, -2])


def test_gspo_has_the_geometric_mean_of_the_active_ratios():
    loss = SampleMeanLoss(kl=KLConfig(), objective=GSPO(clip_low=0.5, clip_high=0.5))
    found, gradient = terms([2.0, 0.5, 1.44, 50.0], 2.0, mask=[True] * 3 + [False], loss=loss)
    s = 1.44 ** (1 / 3)
    assert found.policy.item() == pytest.approx(-2 * 3 * s)
    assert gradient == pytest.approx([-2 * s, -2 * s, -2 * s, 0])
    clipped, gradient = terms([4.0, 4.0], 2.0, loss=loss)
    assert clipped.policy.item() == pytest.approx(-2 * 2 * 1.5)
    assert (gradient, clipped.sums.clip_fraction_high) == ([0, 0], 2)


def test_dual_clip_bounds_a_bad_action_that_has_grown():
    loss = SampleMeanLoss(objective=PPO(clip_low=0.2, clip_high=0.3, dual_clip=2.0))
    found, gradient = terms([1.9, 2.5, 0.5], -2.0, loss=loss)
    assert found.policy.item() == pytest.approx(2 * (1.9 + 2.0 + 0.8))
    assert gradient == pytest.approx([3.8, 0, 0])
    assert (found.sums.clip_fraction_low, found.sums.clip_fraction_high) == (1, 1)
    found, gradient = terms([1.9], 2.0, loss=loss)
    assert (found.policy.item(), gradient) == (pytest.approx(-2.6), [0])


def test_cispo_truncates_the_weight_and_keeps_every_gradient():
    loss = SampleMeanLoss(objective=CISPO(clip_low=0.5, clip_high=1.0))
    for advantage in (2.0, -2.0):
        found, gradient = terms([1.5, 3.0, 0.25], advantage, loss=loss)
        logs = 1.5 * math.log(1.5) + 2.0 * math.log(3.0) + 0.5 * math.log(0.25)
        assert found.policy.item() == pytest.approx(-advantage * logs)
        assert gradient == pytest.approx([-advantage * w for w in (1.5, 2.0, 0.5)])
        assert (found.sums.clip_fraction_low, found.sums.clip_fraction_high) == (1, 1)


def test_reinforce_is_never_clipped():
    found, gradient = terms([0.1, 9.0], -2.0, loss=SampleMeanLoss(objective=Reinforce()))
    assert found.policy.item() == pytest.approx(2 * 9.1)
    assert gradient == pytest.approx([0.2, 18.0])
    assert (found.sums.clip_fraction_low, found.sums.clip_fraction_high) == (0, 0)


def test_sft_is_the_negative_log_likelihood_whatever_the_advantage():
    for advantage in (0.0, -7.0):
        found, gradient = terms([0.25, 0.5], advantage, loss=SampleMeanLoss(objective=SFT()))
        assert found.policy.item() == pytest.approx(math.log(8))
        assert gradient == [-1, -1]
        assert found.sums.ratio == found.sums.active_tokens == 2


def test_tis_truncates_and_icepop_drops_without_touching_the_other_sums():
    tis = SampleMeanLoss(kl=KLConfig(), correction=TIS(cap=2.0))
    found, _ = terms([1.0] * 3, 1.0, mismatch=[0.1, 1.5, 3.0], loss=tis)
    assert found.policy.item() == pytest.approx(-(0.1 + 1.5 + 2.0))
    assert found.sums.correction_ratio == pytest.approx(4.6)
    assert found.sums.correction_fraction == 1
    icepop = SampleMeanLoss(kl=KLConfig(), correction=IcePop(low=0.5, high=2.0))
    found, gradient = terms([1.0] * 3, 1.0, mismatch=[0.1, 1.5, 3.0], loss=icepop)
    assert found.policy.item() == pytest.approx(-1.5)
    assert gradient == pytest.approx([0, -1.5, 0])
    assert (found.sums.correction_fraction, found.sums.active_tokens) == (2, 3)
    assert found.sums.ratio == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("kl", "value"),
    [
        (K1(), math.log(4)),
        (K2(), math.log(4) ** 2 / 2),
        (K3(), 0.25 - 1 + math.log(4)),
    ],
)
def test_the_kl_estimators(kl, value):
    """The reference gives half of the old probability, the current one twice: r = 1/4."""
    found, _ = terms([2.0], 1.0, loss=SampleMeanLoss(kl=kl))
    assert found.kl.item() == pytest.approx(value)
    assert found.sums.kl == pytest.approx(value)


def test_the_gap_to_the_engine_is_that_of_the_old_log_probs():
    found, _ = terms([2.0, 3.0], 1.0, mismatch=[2.0, 0.5])
    assert found.sums.rollout_logprob_abs_diff == pytest.approx(2 * math.log(2))

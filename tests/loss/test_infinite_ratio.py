"""A ratio above e^88 is inf in float32: its token has the term and the gradient of its formula."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss.loss_oracle import Token
from loss.token_terms import sequences_of, terms

from slime.config.schema import CISPO, GSPO, PPO, SFT, IcePop, Reinforce, SampleMeanLoss
from slime.loss import build_loss

INF = math.inf
FAR = 100.0  # nats: e^100 is no float32

CASES = [  # objective, advantage, term, slope
    (PPO(), 2.0, -2.4, 0.0),
    (PPO(), 0.0, 0.0, 0.0),
    (PPO(), -2.0, INF, INF),  # unbounded indeed: nothing hides it
    (PPO(dual_clip=3.0), -2.0, 6.0, 0.0),
    (PPO(dual_clip=3.0), 2.0, -2.4, 0.0),
    (GSPO(clip_high=0.25), 2.0, -2.5, 0.0),
    (GSPO(), 0.0, 0.0, 0.0),
    (GSPO(), -2.0, INF, INF),
    (CISPO(clip_high=4.0), 2.0, -5 * 2.0 * -1.0, -10.0),
    (CISPO(clip_high=4.0), -2.0, 5 * 2.0 * -1.0, 10.0),
    (CISPO(), 0.0, 0.0, 0.0),
    (Reinforce(), 0.0, 0.0, 0.0),
    (Reinforce(), 2.0, -INF, -INF),
    (SFT(), 2.0, 1.0, -1.0),
]


def run(objective, micro_batch, dtype=torch.float32, **keys):
    own = terms(micro_batch, dtype, sequences=sequences_of(micro_batch))
    output = build_loss(SampleMeanLoss(objective=objective, **keys))(own)
    output.loss.backward()
    return output.loss.item(), own.log_probs_T.grad.tolist()


@pytest.mark.parametrize(("objective", "advantage", "term", "slope"), CASES)
def test_the_term_and_its_gradient_are_those_of_the_limit(objective, advantage, term, slope):
    near = Token(-1.0, 0.5, 0.25, 0.0, old=-1.0, sequence=1)
    far = Token(-1.0, advantage, 1.0, 0.0, old=-1.0 - FAR, sequence=0)
    alone, [beside] = run(objective, [near])
    found, gradient = run(objective, [far, near])
    assert found == pytest.approx(term + alone)
    assert gradient == pytest.approx([slope, beside])


@pytest.mark.parametrize("objective", [PPO(dual_clip=3.0), GSPO(), CISPO(), Reinforce()])
def test_nor_does_one_that_icepop_drops_spread(objective):
    micro_batch = [Token(-1.0, -1.0, 0.5, 0.0, old=-1.0 - FAR, rollout=-1.0, sequence=0)]
    assert run(objective, micro_batch, correction=IcePop()) == (0.0, [0.0])


@pytest.mark.parametrize("objective", [PPO(), PPO(dual_clip=3.0), CISPO(), Reinforce(), GSPO()])
@given(
    log_ratio=st.floats(-87, 87, width=32),
    advantage=st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0]),
)
def test_below_that_float32_has_the_values_of_float64(objective, log_ratio, advantage):
    micro_batch = [Token(-1.0, advantage, 0.5, 0.0, old=-1.0 - log_ratio)]
    wide, narrow = (run(objective, micro_batch, dtype) for dtype in (torch.float64, torch.float32))
    if min(abs(math.exp(log_ratio) - corner) for corner in _CORNERS) > 1e-3:
        assert narrow[0] == pytest.approx(wide[0], rel=2e-5)
        assert narrow[1] == pytest.approx(wide[1], rel=2e-5)


_CORNERS = (0.8, 1.2, 3.0, 5.0, 1 - 3e-4, 1 + 4e-4)


def test_a_token_that_has_become_impossible_has_no_term_and_no_gradient():
    for objective in (PPO(), PPO(dual_clip=3.0), Reinforce(), CISPO(clip_low=1.0)):
        assert run(objective, [Token(-INF, 1.0, 0.5, 0.0, old=-1.0)]) == (0.0, [0.0])

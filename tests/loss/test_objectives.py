"""loss/objective: dual-clip PPO, CISPO, REINFORCE and SFT against their formulas."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loss.loss_oracle import Token, correction, objective_term, token_ratio
from loss.token_terms import as_floats, terms, tokens

from slime.config.schema import (
    CISPO,
    GSPO,
    K3,
    PPO,
    SFT,
    TIS,
    ConfigError,
    ConstantLoss,
    CorrectionConfig,
    IcePop,
    ObjectiveConfig,
    Reinforce,
    SampleMeanLoss,
)
from slime.loss import build_loss

KINDS = {
    ("dual", 0.8, 1.28, 2.0): PPO(clip_low=0.2, clip_high=0.28, dual_clip=2.0),
    ("cispo", 0.5, 1.4): CISPO(clip_low=0.5, clip_high=0.4),
    ("reinforce",): Reinforce(),
    ("sft",): SFT(),
}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])


def loss_of(objective, **keys):
    return build_loss(SampleMeanLoss(objective=objective, **keys))


def gradient(loss, own):
    loss(own).loss.backward()
    return own.log_probs_T.grad.tolist()


@each_kind
@pytest.mark.parametrize("on_policy", [False, True])
@given(micro_batch=st.lists(tokens, max_size=12))
def test_values_slopes_and_fractions_are_those_of_the_formulas(kind, on_policy, micro_batch):
    if on_policy:
        micro_batch = [replace(token, old=None) for token in micro_batch]
    expected = [objective_term(kind, token) for token in micro_batch]
    ratios = [1.0 if kind == ("sft",) else token_ratio(token) for token in micro_batch]
    own, active = terms(micro_batch, on_policy=on_policy), [t.active for t in micro_batch]
    output = loss_of(KINDS[kind])(own)
    output.loss.backward()

    def total(values):
        return pytest.approx(
            math.fsum(v for v, a in zip(values, active, strict=True) if a), rel=1e-9, abs=1e-12
        )

    weights = [token.weight for token in micro_batch]
    metrics = as_floats(output.metrics)
    assert metrics["pg_loss"] == total(
        w * term.value for w, term in zip(weights, expected, strict=True)
    )
    assert metrics["ratio"] == total(ratios)
    assert metrics["clip_fraction_low"] == total(term.low for term in expected)
    assert metrics["clip_fraction_high"] == total(term.high for term in expected)
    slopes = [
        w * term.slope if a else 0.0 for w, term, a in zip(weights, expected, active, strict=True)
    ]
    assert own.log_probs_T.grad.tolist() == pytest.approx(slopes, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ("sft",)])
@pytest.mark.parametrize("corrected", [("tis", 1.5), ("icepop", 0.5, 2.0)])
@given(micro_batch=st.lists(tokens, max_size=8))
def test_the_correction_is_a_factor_on_every_term(kind, corrected, micro_batch):
    node = TIS(cap=1.5) if corrected[0] == "tis" else IcePop(low=0.5, high=2.0)
    factors = [correction(corrected, math.exp(t.old - t.rollout))[0] for t in micro_batch]
    slopes = [
        t.weight * factor * objective_term(kind, t).slope if t.active else 0.0
        for t, factor in zip(micro_batch, factors, strict=True)
    ]
    found = gradient(loss_of(KINDS[kind], correction=node), terms(micro_batch))
    assert found == pytest.approx(slopes, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "term", "slope", "fraction"),
    [
        (2.9, -2.0, 5.8, 5.8, 0),  # a bad action, grown: still pulled back
        (3.1, -2.0, 6.0, 0.0, 1),  # grown above the dual bound: the term is c * |A|, and constant
        (3.1, 2.0, -2.4, 0.0, 1),  # a good action has its own upper bound
        (1.1, 2.0, -2.2, -2.2, 0),
        (0.7, -2.0, 1.6, 0.0, 0),  # the lower bound is that of PPO
    ],
)
def test_dual_clip_bounds_the_term_of_bad_actions(ratio, advantage, term, slope, fraction):
    own = terms([Token(math.log(ratio), advantage, 1.0, 1.0, old=0.0)])
    output = loss_of(PPO(dual_clip=3.0))(own)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(term)
    assert own.log_probs_T.grad.item() == pytest.approx(slope)
    assert output.metrics.clip_fraction_high.item() == fraction
    assert output.metrics.clip_fraction_low.item() == (ratio == 0.7)


@given(micro_batch=st.lists(tokens, max_size=8))
def test_without_a_dual_clip_ppo_is_what_it_was(micro_batch):
    """-min(r A, clip(r) A) by its minimum, as it stands in the paper."""
    metrics = as_floats(loss_of(PPO())(terms(micro_batch)).metrics)
    ratios = [token_ratio(token) for token in micro_batch]
    expected = math.fsum(
        -t.weight * min(r * t.advantage, min(max(r, 0.8), 1.2) * t.advantage)
        for t, r in zip(micro_batch, ratios, strict=True)
        if t.active
    )
    assert metrics["pg_loss"] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("advantage", [-2.0, 2.0])
@pytest.mark.parametrize(("ratio", "weight"), [(0.3, 0.3), (1.0, 1.0), (4.9, 4.9), (9.0, 5.0)])
def test_under_cispo_every_token_pulls_with_at_most_the_upper_bound(ratio, weight, advantage):
    """The default has no lower bound."""
    own = terms([Token(math.log(ratio), advantage, 0.5, 0.0, old=0.0)])
    output = loss_of(CISPO())(own)
    output.loss.backward()
    assert own.log_probs_T.grad.item() == pytest.approx(-0.5 * weight * advantage)
    assert output.metrics.clip_fraction_high.item() == (ratio > 5)
    assert output.metrics.clip_fraction_low.item() == 0


@pytest.mark.parametrize("advantage", [-2.0, 0.0, 2.0])
def test_under_cispo_a_truncated_ratio_counts_whatever_the_advantage(advantage):
    micro_batch = [Token(math.log(r), advantage, 1.0, 0.0, old=0.0) for r in (0.4, 1.0, 1.5)]
    metrics = loss_of(CISPO(clip_low=0.5, clip_high=0.4))(terms(micro_batch)).metrics
    assert metrics.clip_fraction_low.item() == metrics.clip_fraction_high.item() == 1


@pytest.mark.parametrize("objective", [PPO(), PPO(dual_clip=3.0), CISPO(), Reinforce()])
def test_on_policy_all_of_them_are_the_policy_gradient(objective):
    own = terms([Token(-3.7, 1.5, 0.25, 0.0), Token(-0.1, -0.5, 0.5, 0.0)], on_policy=True)
    assert gradient(loss_of(objective), own) == [-0.25 * 1.5, 0.5 * 0.5]


def test_sft_is_the_weighted_negative_log_likelihood_and_reads_nothing_else():
    token = Token(-2.0, math.nan, 0.25, 0.0, old=math.nan, rollout=-1.0)
    for on_policy in (False, True):
        own = terms([token, replace(token, current=-3.0)], on_policy=on_policy)
        output = loss_of(SFT())(own)
        output.loss.backward()
        assert output.loss.item() == 0.25 * (2.0 + 3.0)
        assert own.log_probs_T.grad.tolist() == [-0.25, -0.25]
        assert output.metrics.ratio.item() == output.metrics.active_tokens.item() == 2


@each_kind
@pytest.mark.parametrize("on_policy", [False, True])
def test_nothing_at_a_masked_position_leaks(kind, on_policy):
    bad = [math.nan, math.inf, -math.inf]
    masked = [
        Token(b, a, 0.5, 0.0, active=False, rollout=b, old=o) for a in bad for b in bad for o in bad
    ]
    active = Token(-1.0, 2.0, 0.25, 0.0, old=-1.25, rollout=-1.0)
    own = terms([active, *masked], on_policy=on_policy)
    output = loss_of(KINDS[kind])(own)
    output.loss.backward()
    alone = loss_of(KINDS[kind])(terms([active], on_policy=on_policy)).metrics
    assert as_floats(output.metrics) == as_floats(alone)
    assert own.log_probs_T.grad.isfinite().all()
    assert not own.log_probs_T.grad[1:].any()


@each_kind
@pytest.mark.parametrize("name", ["current", "old", "advantage"])
def test_a_nan_at_an_active_token_is_not_hidden(kind, name):
    for advantage in (-1.0, 0.0, 1.0):
        token = replace(Token(-1.0, advantage, 0.5, 0.0, old=-1.0), **{name: math.nan})
        reads = kind != ("sft",) or name == "current"
        assert loss_of(KINDS[kind])(terms([token])).metrics.loss.isnan() == reads


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (PPO(dual_clip=1.0), "loss.objective.dual_clip must be above 1, or null, got 1.0"),
        (PPO(dual_clip=math.nan), "loss.objective.dual_clip must be a finite number > 0, got nan"),
        (PPO(dual_clip=1e31), "loss.objective.dual_clip must be at most 1e30, got 1e.31"),
        (CISPO(clip_low=0.0), r"loss.objective.clip_low must be in \(0, 1\], got 0.0"),
        (CISPO(clip_low=1.5), r"loss.objective.clip_low must be in \(0, 1\], got 1.5"),
        (CISPO(clip_high=0.0), "loss.objective.clip_high must be a finite number > 0, got 0.0"),
        (ObjectiveConfig(name="ppo"), "loss.objective must be a PPO, .* got a ObjectiveConfig"),
    ],
)
def test_bounds_that_make_no_sense_are_a_config_error(node, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        loss_of(node)


@pytest.mark.parametrize("node", [TIS(), IcePop()])
def test_imitated_tokens_have_no_correction(node):
    with pytest.raises(ConfigError, match=rf"^loss/correction={node.name} corrects .*none$"):
        loss_of(SFT(), correction=node)
    loss_of(SFT(), correction=CorrectionConfig())


def test_imitated_tokens_estimate_no_kl():
    with pytest.raises(ConfigError, match=r"^loss/kl=k3 is an estimate .* write loss/kl=none$"):
        loss_of(SFT(), kl=K3())


def test_only_gspo_needs_whole_sequences_and_only_it_minds_the_aggregation():
    assert loss_of(GSPO()).needs_sequences
    for objective in KINDS.values():
        assert not build_loss(ConstantLoss(divisor=3.0, objective=objective)).needs_sequences

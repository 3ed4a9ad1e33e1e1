"""loss/correction: the trainer's probability of a token over the rollout engine's."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loss.loss_oracle import Token, correction, metric_sums, surrogate
from loss.token_terms import as_floats, terms, tokens

from slime.config.schema import K3, PPO, TIS, ConfigError, CorrectionConfig, IcePop, SampleMeanLoss
from slime.loss import build_loss

KINDS = {
    ("none",): CorrectionConfig(),
    ("tis", 1.5): TIS(cap=1.5),
    ("icepop", 0.5, 2.0): IcePop(low=0.5, high=2.0),
}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])


def config(kind, **keys):
    objective = PPO(clip_low=0.2, clip_high=0.28)
    return SampleMeanLoss(objective=objective, correction=KINDS[kind], **keys)


@each_kind
@pytest.mark.parametrize("on_policy", [False, True])
@given(micro_batch=st.lists(tokens, max_size=12))
def test_loss_and_metrics_are_those_of_the_formulas(kind, on_policy, micro_batch):
    if on_policy:
        micro_batch = [replace(token, old=None) for token in micro_batch]
    loss = build_loss(config(kind, kl=K3(coefficient=0.3), entropy_coefficient=0.02))
    output = loss(terms(micro_batch, on_policy=on_policy))
    expected = metric_sums(
        micro_batch,
        low=0.2,
        high=0.28,
        estimator="k3",
        kl_coefficient=0.3,
        entropy_coefficient=0.02,
        corrected=kind,
    )
    assert as_floats(output.metrics) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@each_kind
@given(micro_batch=st.lists(tokens, min_size=1, max_size=6))
def test_the_factor_is_a_number_to_the_gradient(kind, micro_batch):
    """factor times the gradient without a correction, on and off policy."""
    for on_policy in (False, True):
        plain, own = (
            terms(micro_batch, on_policy=on_policy),
            terms(micro_batch, on_policy=on_policy),
        )
        build_loss(config(("none",)))(plain).loss.backward()
        build_loss(config(kind))(own).loss.backward()
        factors = [
            correction(kind, math.exp((t.current if on_policy else t.old) - t.rollout))[0]
            for t in micro_batch
        ]
        expected = [f * g for f, g in zip(factors, plain.log_probs_T.grad.tolist(), strict=True)]
        assert own.log_probs_T.grad.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("ratio", "kind", "factor", "changed"),
    [
        (0.4, ("tis", 1.5), 0.4, 0),
        (1.6, ("tis", 1.5), 1.5, 1),
        (0.49, ("icepop", 0.5, 2.0), 0.0, 1),
        (0.51, ("icepop", 0.5, 2.0), 0.51, 0),
        (1.99, ("icepop", 0.5, 2.0), 1.99, 0),
        (2.01, ("icepop", 0.5, 2.0), 0.0, 1),
        (9.0, ("none",), 1.0, 0),
    ],
)
def test_tis_truncates_from_above_and_icepop_keeps_what_is_within(ratio, kind, factor, changed):
    token = Token(-1.0, 2.0, 0.25, 0.0, old=-1.0, rollout=-1.0 - math.log(ratio))
    metrics = as_floats(build_loss(config(kind))(terms([token])).metrics)
    assert metrics["pg_loss"] == pytest.approx(-0.25 * factor * surrogate(1.0, 2.0, 0.2, 0.28))
    assert metrics["correction_ratio"] == pytest.approx(ratio)
    assert metrics["correction_fraction"] == changed


def test_the_bounds_of_icepop_are_kept():
    token = Token(-1.0, 1.0, 1.0, 0.0, old=-1.0, rollout=-1.0)
    for bounds in (IcePop(low=1.0, high=2.0), IcePop(low=0.5, high=1.0)):
        loss = build_loss(SampleMeanLoss(correction=bounds))
        assert loss(terms([token])).loss.item() == -1.0


def test_a_token_that_is_dropped_leaves_every_other_number_as_it_was():
    """A late mask: weights, KL, entropy and metrics are those of the tokens active before."""
    kept = Token(-1.0, 1.0, 0.25, 0.5, old=-1.0, rollout=-1.0, entropy=2.0, reference=-1.5)
    dropped = replace(kept, current=-1.1, rollout=-9.0)
    loss = build_loss(config(("icepop", 0.5, 2.0), kl=K3(), entropy_coefficient=0.1))
    plain = build_loss(config(("none",), kl=K3(), entropy_coefficient=0.1))
    got = as_floats(loss(terms([kept, dropped])).metrics)
    expected = as_floats(plain(terms([kept, dropped])).metrics)
    assert got["pg_loss"] == pytest.approx(-0.25)
    same = set(got) - {"loss", "pg_loss", "correction_fraction"}
    assert {name: got[name] for name in same} == {name: expected[name] for name in same}
    assert got["correction_fraction"] == 1


def test_what_is_dropped_may_be_infinite():
    """The trainer found the token impossible before the step, and likely during it: ratio inf."""
    micro_batch = [
        Token(-1.0, -1.0, 0.5, 0.0, old=-1.0, rollout=-1.0),
        Token(-1.0, -1.0, 0.5, 0.0, old=-1e4, rollout=-1.0),
    ]
    own = terms(micro_batch)
    output = build_loss(config(("icepop", 0.5, 2.0)))(own)
    output.loss.backward()
    assert output.loss.item() == 0.5
    assert own.log_probs_T.grad.tolist() == [0.5, 0.0]


@each_kind
def test_nothing_at_a_masked_position_leaks(kind):
    bad = [math.nan, math.inf, -math.inf]
    masked = [
        Token(b, b, 0.5, 0.0, active=False, rollout=r, old=o) for b in bad for r in bad for o in bad
    ]
    active = Token(-1.0, 2.0, 0.25, 0.0, old=-1.25, rollout=-1.0)
    own = terms([active, *masked])
    output = build_loss(config(kind))(own)
    output.loss.backward()
    expected = as_floats(build_loss(config(kind))(terms([active])).metrics)
    assert as_floats(output.metrics) == expected
    assert own.log_probs_T.grad.isfinite().all()
    assert not own.log_probs_T.grad[1:].any()


@pytest.mark.parametrize("node", [TIS(cap=0.5), IcePop(low=1.5, high=2.0)])
def test_bounds_that_leave_one_out_do_not_count_masked_positions(node):
    masked = Token(-1.0, 1.0, 0.5, 0.0, active=False, old=-1.0, rollout=-1.0)
    kept = replace(masked, active=True, rollout=-1.0 - math.log(0.4 if node.name == "tis" else 1.6))
    metrics = build_loss(SampleMeanLoss(correction=node))(terms([masked, kept])).metrics
    assert metrics.correction_fraction.item() == 0


@each_kind
@pytest.mark.parametrize("name", ["current", "old", "rollout"])
def test_a_nan_at_an_active_token_is_not_hidden(kind, name):
    token = replace(Token(-1.0, 1.0, 0.5, 0.0, old=-1.0, rollout=-1.0), **{name: math.nan})
    metrics = build_loss(config(kind))(terms([token])).metrics
    assert metrics.loss.isnan() or (name == "rollout" and kind == ("none",))
    assert metrics.correction_ratio.isnan() or name == "current"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (TIS(cap=0.0), "loss.correction.cap must be a finite number > 0, got 0.0"),
        (IcePop(low=-1.0), "loss.correction.low must be a finite number >= 0, got -1.0"),
        (IcePop(low=2.0, high=2.0), "loss.correction.low=2.0 must be below loss.correction.high="),
    ],
)
def test_bounds_that_make_no_sense_are_a_config_error(node, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        build_loss(SampleMeanLoss(correction=node))

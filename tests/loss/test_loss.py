"""build_loss against float64 loops, on tokens of any kind."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss.loss_oracle import Token, metric_sums, surrogate
from loss.token_terms import as_floats, terms, tokens

from slime.config.schema import (
    K1,
    K2,
    K3,
    PPO,
    ConfigError,
    KLConfig,
    ReferenceKLConfig,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.loss import MetricSums, build_loss

NAN, INF = math.nan, math.inf
CLIPPED = PPO(clip_low=0.2, clip_high=0.28)


def config(kl="none", entropy=0.0, objective=CLIPPED):
    kls = {"none": KLConfig(), "k1": K1, "k2": K2, "k3": K3}
    node = kls[kl] if kl == "none" else kls[kl](coefficient=0.3)
    return SampleMeanLoss(objective=objective, kl=node, entropy_coefficient=entropy)


@pytest.mark.parametrize("on_policy", [False, True])
@pytest.mark.parametrize("entropy", [0.0, 0.02])
@pytest.mark.parametrize("kl", ["none", "k1", "k2", "k3"])
@given(micro_batch=st.lists(tokens, max_size=12))
def test_loss_and_metrics_are_those_of_the_formulas(kl, entropy, on_policy, micro_batch):
    if on_policy:
        micro_batch = [replace(token, old=None) for token in micro_batch]
    loss = build_loss(config(kl, entropy))
    output = loss(terms(micro_batch, on_policy=on_policy))
    expected = metric_sums(
        micro_batch,
        low=0.2,
        high=0.28,
        estimator=kl,
        kl_coefficient=0.3,
        entropy_coefficient=entropy,
    )
    assert as_floats(output.metrics) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert output.loss.item() == pytest.approx(expected["loss"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kl", ["none", "k1", "k2", "k3"])
@given(micro_batch=st.lists(tokens, min_size=1, max_size=4))
def test_the_gradient_is_the_slope_of_the_formulas(kl, micro_batch):
    """Central differences of the oracle, away from the corners of the clip."""
    bounds = {"low": 0.2, "high": 0.28}
    micro_batch = [
        t for t in micro_batch
        if all(abs(math.exp(t.current - t.old) - corner) > 1e-3 for corner in (0.8, 1.28))
    ]  # fmt: skip
    own = terms(micro_batch)
    build_loss(config(kl, 0.02))(own).loss.backward()

    def slope(i, name):
        def at(delta):
            moved = list(micro_batch)
            moved[i] = replace(moved[i], **{name: getattr(moved[i], name) + delta})
            return metric_sums(
                moved, **bounds, estimator=kl, kl_coefficient=0.3, entropy_coefficient=0.02
            )["loss"]

        return (at(1e-5) - at(-1e-5)) / 2e-5

    slopes = [slope(i, "current") for i in range(len(micro_batch))]
    assert own.log_probs_T.grad.tolist() == pytest.approx(slopes, rel=1e-5, abs=1e-6)
    slopes = [slope(i, "entropy") for i in range(len(micro_batch))]
    assert own.entropy_T.grad.tolist() == pytest.approx(slopes, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "term", "slope"),
    [
        (1.1, 2.0, -2.2, -2.2),  # inside the bounds
        (1.3, 2.0, -2.56, 0.0),  # a good action, grown above 1 + high: clipped
        (1.3, -2.0, 2.6, 2.6),  # a bad action, grown: never clipped
        (0.7, 2.0, -1.4, -1.4),  # a good action, shrunk: never clipped
        (0.7, -2.0, 1.6, 0.0),  # a bad action, shrunk below 1 - low: clipped
        (0.9, -2.0, 1.8, 1.8),  # inside the bounds
    ],
)
def test_ppo_clips_only_where_the_change_already_went_the_way_of_the_advantage(
    ratio, advantage, term, slope
):
    assert -surrogate(ratio, advantage, 0.2, 0.28) == pytest.approx(term)
    own = terms([Token(math.log(ratio), advantage, 1.0, 1.0, old=0.0)])
    output = build_loss(config())(own)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(term)
    assert own.log_probs_T.grad.item() == pytest.approx(slope)
    assert output.metrics.clip_fraction_high.item() == (ratio == 1.3 and advantage > 0)
    assert output.metrics.clip_fraction_low.item() == (ratio == 0.7 and advantage < 0)


def test_on_policy_the_ratio_is_one_and_the_gradient_is_minus_weight_times_advantage():
    own = terms([Token(-3.7, 1.5, 0.25, 0.0), Token(-0.1, -0.5, 0.5, 0.0)], on_policy=True)
    output = build_loss(config())(own)
    output.loss.backward()
    assert output.metrics.ratio.item() == 2.0
    assert output.loss.item() == -0.25 * 1.5 + 0.5 * 0.5
    assert own.log_probs_T.grad.tolist() == [-0.25 * 1.5, 0.5 * 0.5]


BAD = st.sampled_from([NAN, INF, -INF, 0.0, -1e30, 1e30])


@pytest.mark.parametrize("on_policy", [False, True])
@pytest.mark.parametrize("kl", ["none", "k1", "k2", "k3"])
@given(
    micro_batch=st.lists(tokens, max_size=6),
    bad=st.lists(
        st.builds(Token, *[BAD] * 4, active=st.just(False), rollout=BAD, entropy=BAD, old=BAD,
                  reference=BAD),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
def test_nothing_at_a_masked_position_leaks_into_the_value_or_the_gradient(
    kl, on_policy, micro_batch, bad
):
    loss = build_loss(config(kl, 0.02))
    clean, dirty = (
        terms(micro_batch, on_policy=on_policy),
        terms(micro_batch + bad, on_policy=on_policy),
    )
    outputs = loss(clean), loss(dirty)
    for output in outputs:
        output.loss.backward()
    assert as_floats(outputs[1].metrics) == pytest.approx(as_floats(outputs[0].metrics))
    n = len(micro_batch)
    for name in ("log_probs_T", "entropy_T"):
        grad = getattr(dirty, name).grad
        assert grad[:n].tolist() == pytest.approx(getattr(clean, name).grad.tolist())
        assert grad[n:].tolist() == [0.0] * len(bad)


@pytest.mark.parametrize("size", [0, 3])
def test_a_micro_batch_without_active_tokens_has_loss_zero_and_keeps_its_graph(size):
    own = terms([Token(NAN, 1.0, 0.5, 0.5, active=False, old=-1.0)] * size)
    output = build_loss(config("k3", 0.1))(own)
    output.loss.backward()
    assert output.loss.item() == 0.0
    assert own.log_probs_T.grad.tolist() == [0.0] * size


def test_a_nan_at_an_active_token_is_not_hidden():
    output = build_loss(config())(terms([Token(NAN, 1.0, 0.5, 0.5, old=-1.0)]))
    assert output.loss.isnan()


def test_kl_and_entropy_use_the_auxiliary_weights_and_policy_gradient_its_own():
    token = Token(-1.0, 2.0, 0.25, 0.125, old=-1.0, reference=-2.0, entropy=3.0)
    metrics = as_floats(build_loss(config("k1", 0.5))(terms([token])).metrics)
    assert metrics["pg_loss"] == -0.25 * 2.0
    assert metrics["kl_loss"] == 0.3 * 0.125 * 1.0
    assert metrics["entropy_loss"] == -0.5 * 0.125 * 3.0


@given(st.floats(-20, 20, width=32))
def test_k3_is_never_negative_in_float32(log_r):
    own = terms([Token(0.0, 0.0, 1.0, 1.0, old=0.0, reference=log_r)], torch.float32)
    assert build_loss(config("k3"))(own).metrics.kl >= 0


def test_k3_keeps_its_digits_when_the_policies_are_close():
    own = terms([Token(0.0, 0.0, 1.0, 1.0, old=0.0, reference=2.0**-13)], torch.float32)
    assert build_loss(config("k3"))(own).metrics.kl.item() == pytest.approx(2.0**-27, rel=1e-3)


def test_a_small_term_beside_large_ones_is_not_lost_in_float32():
    large = [Token(-1.0, sign * 2.0**27, 1.0, 1.0) for sign in (1, -1)]
    own = terms([large[0], Token(-1.0, 1.0, 1.0, 1.0), large[1]], torch.float32, on_policy=True)
    output = build_loss(config())(own)
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == output.metrics.loss.item() == -1.0


def test_scaling_the_returned_loss_in_place_leaves_the_metrics_alone():
    output = build_loss(config())(terms([Token(-1.0, 2.0, 1.0, 1.0, old=-1.0)]))
    output.loss.mul_(100)
    assert output.metrics.loss.item() == -2.0


def test_metric_sums_are_detached_float64_and_survive_the_trip_through_a_vector():
    metrics = build_loss(config("k2", 0.1))(terms([Token(-1.0, 2.0, 1.0, 1.0, old=-1.5)])).metrics
    vector_K = metrics.vector()
    assert vector_K.dtype == torch.float64
    assert not vector_K.requires_grad
    assert as_floats(MetricSums.from_vector(vector_K)) == as_floats(metrics)


def test_the_loss_says_what_it_needs():
    plain, full = build_loss(config()), build_loss(config("k2", 0.1))
    assert (plain.needs_reference, plain.needs_entropy_gradient) == (False, False)
    assert (full.needs_reference, full.needs_entropy_gradient) == (True, True)


def test_without_an_entropy_bonus_the_entropy_gets_no_gradient():
    own = terms([Token(-1.0, 2.0, 1.0, 1.0, old=-1.0, entropy=NAN)])
    output = build_loss(config())(own)
    output.loss.backward()
    assert own.entropy_T.grad is None
    assert output.loss.item() == -2.0


def test_a_kl_term_without_reference_log_probs_is_an_error():
    own = replace(terms([Token(-1.0, 2.0, 1.0, 1.0, old=-1.0)]), reference_log_probs_T=None)
    assert build_loss(config())(own).loss.item() == -2.0
    with pytest.raises(ValueError, match="reference_log_probs_T is None"):
        build_loss(config("k3"))(own)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (TokenMeanLoss(objective=PPO(clip_low=1.0)), "loss.objective.clip_low"),
        (TokenMeanLoss(kl=K1(coefficient=-1.0)), "loss.kl.coefficient"),
        (TokenMeanLoss(kl=ReferenceKLConfig()), "got a ReferenceKLConfig"),
    ],
)
def test_an_illegal_loss_node_is_a_config_error(node, message):
    with pytest.raises(ConfigError, match=message):
        build_loss(node)


@pytest.mark.parametrize(
    "name", ["advantages_T", "weights_T", "mask_T", "old_log_probs_T", "reference_log_probs_T"]
)
def test_terms_of_another_shape_are_an_error_because_torch_would_broadcast_them(name):
    own = terms([Token(-1.0, 2.0, 1.0, 1.0, old=-1.0)] * 3)
    for shape in ((1,), (3, 1), ()):
        with pytest.raises(ValueError, match=rf"{name} has shape .*, log_probs_T \(3,\)"):
            replace(own, **{name: torch.zeros(shape)})

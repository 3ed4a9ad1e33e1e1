"""loss/objective=gspo: one ratio for a whole sample, wherever its tokens are."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss.loss_oracle import Token, metric_sums
from loss.token_terms import as_floats, sequences_of, terms, tokens

from slime.config.schema import (
    GSPO,
    ConfigError,
    ConstantLoss,
    CustomLoss,
    IcePop,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.loss import build_loss

BOUNDS = {"low": 0.1, "high": 0.15}
CONFIG = SampleMeanLoss(objective=GSPO(clip_low=0.1, clip_high=0.15))
LOSS = build_loss(CONFIG)


@st.composite
def samples(draw):
    """Tokens of up to three samples, each with an advantage and a weight; some masked."""
    drawn = []
    for number in range(draw(st.integers(1, 3))):
        advantage = draw(st.one_of(st.just(0.0), st.floats(-3, 3, width=32)))
        weight = draw(st.floats(2**-6, 1, width=32))
        for token in draw(st.lists(tokens, max_size=4)):
            current = draw(st.floats(-0.25, 0.25, width=32)) + token.old  # near the clip's corners
            drawn.append(replace(token, current=current, advantage=advantage, weight=weight,
                                 sequence=number))  # fmt: skip
    return draw(st.permutations(drawn))


@given(micro_batch=samples())
def test_loss_and_metrics_are_those_of_the_formula(micro_batch):
    output = LOSS(terms(micro_batch, sequences=sequences_of(micro_batch)))
    expected = metric_sums(micro_batch, **BOUNDS, whole_sequences=True)
    assert as_floats(output.metrics) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(micro_batch=samples())
def test_the_gradient_is_the_slope_of_the_sequence_objective(micro_batch):
    """GSPO itself (arXiv:2507.18071 eq. 5), by central differences through the geometric mean."""

    def loss_at(i, delta):
        moved = list(micro_batch)
        moved[i] = replace(moved[i], current=moved[i].current + delta)
        return metric_sums(moved, **BOUNDS, whole_sequences=True)["loss"]

    own = terms(micro_batch, sequences=sequences_of(micro_batch))
    output = LOSS(own)
    output.loss.backward()
    for i, token in enumerate(micro_batch):
        ratio = metric_sums([t for t in micro_batch if t.sequence == token.sequence], **BOUNDS,
                            whole_sequences=True)  # fmt: skip
        mean = ratio["ratio"] / max(ratio["active_tokens"], 1)
        if min(abs(mean - 0.9), abs(mean - 1.15)) > 1e-3:  # away from the corners of the clip
            slope = (loss_at(i, 1e-5) - loss_at(i, -1e-5)) / 2e-5
            assert own.log_probs_T.grad[i].item() == pytest.approx(slope, rel=1e-5, abs=1e-6)


@given(micro_batch=samples(), choices=st.randoms(use_true_random=False))
def test_tokens_of_a_sample_may_be_on_several_workers(micro_batch, choices):
    """Each holds some; what add_shards adds makes every ratio that of the whole sample."""
    workers = [choices.randrange(3) for _ in micro_batch]
    shards = [[t for t, w in zip(micro_batch, workers, strict=True) if w == n] for n in range(3)]

    def add_all(sums_S):  # the sums over all workers, as a reduction would give to each of them
        numbers = sorted({token.sequence for token in micro_batch})
        for s, number in enumerate(numbers):
            own = [t for t in micro_batch if t.active and t.sequence == number]
            sums_S[s] = math.fsum(t.current - t.old for t in own)

    whole = terms(micro_batch, sequences=sequences_of(micro_batch))
    expected = LOSS(whole)
    expected.loss.backward()
    total_K, gradients = 0, {}
    for number, shard in enumerate(shards):
        sequences = replace(sequences_of(shard, micro_batch), add_shards=add_all)
        own = terms(shard, sequences=sequences)
        output = LOSS(own)
        output.loss.backward()
        total_K = total_K + output.metrics.vector()
        gradients[number] = iter(own.log_probs_T.grad.tolist())
    assert total_K.tolist() == pytest.approx(expected.metrics.vector().tolist(), rel=1e-9, abs=1e-9)
    put_together = [next(gradients[worker]) for worker in workers]
    assert put_together == pytest.approx(whole.log_probs_T.grad.tolist(), rel=1e-9, abs=1e-12)


@given(micro_batch=samples())
def test_on_policy_the_ratio_is_one_and_the_gradient_is_minus_weight_times_advantage(micro_batch):
    def never(_):
        raise AssertionError("nothing has to be added up")

    sequences = replace(sequences_of(micro_batch), add_shards=never)
    own = terms(micro_batch, on_policy=True, sequences=sequences)
    output = LOSS(own)
    output.loss.backward()
    assert output.metrics.ratio.item() == output.metrics.active_tokens.item()
    expected = [-t.weight * t.advantage if t.active else 0.0 for t in micro_batch]
    assert own.log_probs_T.grad.tolist() == expected


def test_a_sample_without_active_tokens_gives_nothing_and_no_nan():
    token = Token(math.nan, math.inf, 0.5, 0.5, active=False, old=-math.inf, sequence=1)
    micro_batch = [Token(-1.0, 2.0, 1.0, 1.0, old=-1.0), token]
    own = terms(micro_batch, sequences=sequences_of(micro_batch))
    output = LOSS(own)
    output.loss.backward()
    assert output.loss.item() == -2.0
    assert own.log_probs_T.grad.tolist() == [-2.0, 0.0]


def test_many_small_changes_add_up_exactly_in_float32():
    """1e5 tokens: a float32 sum of their log ratios would lose digits that the bounds need."""
    step = 3.0e-4
    micro_batch = [Token(-1.0 + step, 1.0, 1e-5, 0.0, old=-1.0)] * 100_000
    own = terms(micro_batch, torch.float32, sequences=sequences_of(micro_batch))
    log_ratio = (own.log_probs_T[0].double() - own.old_log_probs_T[0].double()).item()
    mean = build_loss(SampleMeanLoss(objective=GSPO()))(own).metrics.ratio.item() / 1e5
    assert mean == pytest.approx(math.exp(log_ratio), rel=1e-7)


def test_a_token_that_icepop_drops_still_counts_in_the_ratio_of_its_sample():
    micro_batch = [
        Token(-1.0, 1.0, 0.5, 0.0, old=-1.2, rollout=-1.2),
        Token(-2.0, 1.0, 0.5, 0.0, old=-1.9, rollout=-9.0),
    ]
    own = terms(micro_batch, sequences=sequences_of(micro_batch))
    output = build_loss(replace(CONFIG, correction=IcePop()))(own)
    output.loss.backward()
    ratio = math.exp((0.2 - 0.1) / 2)
    assert output.loss.item() == pytest.approx(-0.5 * ratio)
    assert own.log_probs_T.grad.tolist() == pytest.approx([-0.5 * ratio, 0.0])


def test_without_sequences_it_is_an_error_and_the_loss_says_so_before():
    assert LOSS.needs_sequences
    assert not build_loss(SampleMeanLoss()).needs_sequences
    for on_policy in (False, True):
        with pytest.raises(ValueError, match="gspo needs whole sequences, but sequences is None"):
            LOSS(terms([Token(-1.0, 1.0, 1.0, 1.0, old=-1.0)], on_policy=on_policy))


@pytest.mark.parametrize("mode", [TokenMeanLoss, PromptMeanLoss, ConstantLoss])
def test_modes_that_count_a_sequence_once_per_token_are_a_config_error(mode):
    keys = {"divisor": 3.0} if mode is ConstantLoss else {}
    with pytest.raises(ConfigError, match=r"^loss/objective=gspo has one ratio .*sample_mean$"):
        build_loss(mode(objective=GSPO(), **keys))
    build_loss(CustomLoss(objective=GSPO(), function="any.module:weights"))


def test_the_rule_on_modes_goes_by_the_class_not_by_its_label():
    with pytest.raises(ConfigError, match="loss/objective=gspo has one ratio"):
        build_loss(TokenMeanLoss(objective=GSPO(), aggregation="sample_mean"))

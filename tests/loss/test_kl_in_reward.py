"""loss.kl.place=reward, as the loss sees it: measured, and not a term."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loss.token_terms import as_floats, terms, tokens

from slime.config.schema import K1, K2, K3, KLConfig, KLPlace, SampleMeanLoss
from slime.loss import build_loss

KINDS = [K1, K2, K3]


def of(micro_batch, kl):
    """-> the metric sums, the loss and the gradient of the log-probs"""
    own = terms(micro_batch)
    output = build_loss(SampleMeanLoss(kl=kl, entropy_coefficient=0.1))(own)
    output.loss.backward()
    return as_floats(output.metrics), output.loss.item(), own.log_probs_T.grad.tolist()


@pytest.mark.parametrize("kind", KINDS)
@given(micro_batch=st.lists(tokens, min_size=1, max_size=8))
def test_the_loss_has_no_kl_term_and_measures_the_kl(kind, micro_batch):
    sums, loss, gradient = of(micro_batch, kind(coefficient=0.3, place=KLPlace.reward))
    in_loss, _, _ = of(micro_batch, kind(coefficient=0.3))
    without, loss_without, gradient_without = of(micro_batch, KLConfig())
    assert (loss, gradient) == (loss_without, gradient_without)
    assert sums["kl"] == in_loss["kl"]
    assert {**sums, "kl": without["kl"]} == without
    assert sums["kl_loss"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_it_needs_the_reference_all_the_same(kind):
    loss = build_loss(SampleMeanLoss(kl=kind(place=KLPlace.reward)))
    assert loss.needs_reference
    bare = replace(terms([]), reference_log_probs_T=None)
    with pytest.raises(ValueError, match="reference_log_probs_T is None"):
        loss(bare)

"""The load-balancing loss of a mixture of experts keeps its own normalisation."""

import moe_cases
import pytest
import torch
from processes import free_port, run_processes

from slime.config.schema import ConstantLoss, SampleMeanLoss, TokenMeanLoss

LOSSES = {
    "sample_mean": SampleMeanLoss(entropy_coefficient=0.1),
    "token_mean": TokenMeanLoss(entropy_coefficient=0.1),
    "small_divisor": ConstantLoss(entropy_coefficient=0.1, divisor=1.0),
    "large_divisor": ConstantLoss(entropy_coefficient=0.1, divisor=4096.0),
}


@pytest.fixture(scope="module")
def measured() -> dict[str, list[moe_cases.Measured]]:
    """Of both ranks, whose numbers of micro-batches and of tokens differ."""
    ranks = run_processes(2, moe_cases.gradients, free_port(), list(LOSSES.values()))
    return dict(zip(LOSSES, zip(*ranks, strict=True), strict=True))


def assert_close(actual: moe_cases.Gradient, expected: moe_cases.Gradient) -> None:
    assert actual.keys() == expected.keys()
    for name, right in expected.items():
        bound = 2e-5 * right.abs().max().item()
        torch.testing.assert_close(
            actual[name], right, rtol=0, atol=bound, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_auxiliary_loss_is_a_mean_over_ranks_and_their_micro_batches(loss, measured):
    for rank in measured[loss]:
        total = {name: rank.main[name] + auxiliary for name, auxiliary in rank.auxiliary.items()}
        assert_close(rank.with_auxiliary, total)


@pytest.mark.parametrize("loss", LOSSES)
def test_beside_an_auxiliary_loss_the_main_loss_keeps_its_own_scale(loss, measured):
    for rank in measured[loss]:
        assert_close(rank.without_auxiliary, rank.main)


def test_neither_the_mode_nor_the_divisor_changes_the_auxiliary_loss(measured):
    own = {
        loss: {name: g - rank.without_auxiliary[name] for name, g in rank.with_auxiliary.items()}
        for loss, (rank, _) in measured.items()
        if loss != "small_divisor"  # beside so large a loss the difference is rounding
    }
    for loss in own:
        assert_close(own[loss], measured["sample_mean"][0].auxiliary)


def test_the_auxiliary_loss_matters_here(measured):
    """For every weight that routing depends on, in both layers."""
    rank = measured["sample_mean"][0]
    for layer in (0, 1):
        name = f"decoder.layers.{layer}.mlp.router.weight"
        assert rank.auxiliary[name].abs().max() > 0.1 * rank.main[name].abs().max()

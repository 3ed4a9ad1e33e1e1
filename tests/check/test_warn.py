"""What a check warns of."""

from slime.check.warn import NOTHING_PULLS, warnings
from slime.config.schema import AdamConfig

NORMS = {"sample_mean": 2.0, "token_mean": 0.5}


def test_nothing_is_said_when_there_is_nothing_to_say():
    assert list(warnings(NORMS, 10_000, AdamConfig(clip_grad=3.0))) == []
    assert list(warnings(NORMS, 10_000, AdamConfig(clip_grad=0.1))) == []
    assert list(warnings(NORMS, 10_000, AdamConfig(clip_grad=0.0))) == []


def test_clipping_that_depends_on_the_mode_is_named():
    [line] = warnings(NORMS, 10_000, AdamConfig(clip_grad=1.0))
    assert line.startswith(
        "optimizer.clip_grad=1 would clip this step under sample_mean and not under token_mean"
    )


def test_a_gradient_near_eps_is_named():
    """Root mean square 2 / 100 = 0.02."""
    assert list(warnings(NORMS, 10_000, AdamConfig(clip_grad=0.0, eps=1.9e-4))) == []
    [line] = warnings(NORMS, 10_000, AdamConfig(clip_grad=0.0, eps=2.1e-4))
    assert "root mean square, 0.02, is within 100x of optimizer.eps=0.00021" in line
    assert "write optimizer.eps=2e-05 or less" in line


def test_a_step_without_a_gradient_proves_nothing_and_says_so():
    assert list(warnings({"sample_mean": 0.0}, 10_000, AdamConfig())) == [NOTHING_PULLS]


def test_what_counts_is_the_clipped_gradient():
    [line] = warnings({"sample_mean": 2.0}, 10_000, AdamConfig(clip_grad=1.0, eps=1.1e-4))
    assert "root mean square, 0.01," in line


def test_an_eps_that_float32_cannot_use_is_not_advised():
    [line] = warnings({"constant": 1e-20}, 10_000, AdamConfig(clip_grad=0.0))
    assert "no eps is small enough in float32: scale the loss up" in line
    assert "write" not in line

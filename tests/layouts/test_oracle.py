"""The oracle itself: its slopes, and that the steps it is asked about are hard."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from layouts.oracle import Row, expect, rows
from layouts.problems import LOSSES, MODES, Setting, model_of, planned, seeded, seeded_problems
from layouts.steps import Drawn, draw_groups, of

from slime.config.schema import GrpoAdvantage
from slime.data import Finish

SEEDS = range(8)


def rows_of(drawn: Drawn, setting: Setting, model, on_policy: bool = False) -> list[Row]:
    def read(sample):
        old_R = None if on_policy else of(drawn.old, sample)
        return old_R, of(drawn.reference, sample), *model.read(sample)

    return rows(drawn.groups, read, loss=setting.loss, advantage=setting.advantage)


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_the_central_differences_of_the_loss(name, folders):
    loss, delta = LOSSES[name], 1e-6
    drawn = seeded(folders["llama"], 3, prompts=2)
    step = rows_of(drawn, Setting(loss), model_of(folders["llama"]))
    expected = expect(step, loss)
    slopes = {"current_R": expected.log_prob_slopes, "entropy_R": expected.entropy_slopes}
    for s, row in enumerate(step):
        for attribute, along in slopes.items():
            for t in range(len(row.active_R)):

                def at(move: float, s=s, t=t, row=row, attribute=attribute) -> float:
                    values_R = getattr(row, attribute).copy()
                    values_R[t] += move
                    moved = [*step[:s], replace(row, **{attribute: values_R}), *step[s + 1 :]]
                    return expect(moved, loss).metrics["loss"]

                slope = (at(delta) - at(-delta)) / (2 * delta)
                assert along[s][t] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_on_policy_the_slope_is_that_of_the_ratio_at_one(folders):
    """Old log-probs that equal the current ones, but do not move with them."""
    loss, model, drawn = (
        MODES["prompt_mean"],
        model_of(folders["llama"]),
        seeded(folders["llama"], 1),
    )
    on_policy = rows_of(drawn, Setting(loss), model, on_policy=True)
    frozen = [replace(row, old_R=row.still_R) for row in on_policy]
    for a, b in zip(expect(on_policy, loss).log_prob_slopes, expect(frozen, loss).log_prob_slopes,
                    strict=True):  # fmt: skip
        assert a == pytest.approx(b)


def test_the_gradient_is_the_central_difference_of_the_loss_along_a_direction(folders):
    import torch

    model, loss = model_of(folders["qwen3"]), MODES["token_mean"]
    setting = Setting(loss, GrpoAdvantage())
    drawn = seeded(folders["qwen3"], 3)
    problem = seeded_problems(folders["qwen3"], 3, "token_mean")[0]
    random, delta = np.random.default_rng(0), 1e-6
    direction = {name: random.standard_normal(g.shape) for name, g in problem.gradient.items()}
    slope = sum(float((g * direction[name]).sum()) for name, g in problem.gradient.items())

    def at(move: float) -> float:
        with torch.no_grad():
            for name, weights in model.weights().items():
                weights += move * direction[name]
            moved = expect(rows_of(drawn, setting, model), loss).metrics["loss"]
            for name, weights in model.weights().items():
                weights -= move * direction[name]
        return moved

    assert slope == pytest.approx((at(delta) - at(-delta)) / (2 * delta), rel=1e-6)


def test_the_drawn_iterations_have_everything_that_is_hard():
    drawn = [draw_groups(Random(seed)) for seed in SEEDS]
    rollouts = [rollout for groups in drawn for group in groups for rollout in group.rollouts]
    samples = [sample for rollout in rollouts for sample in rollout.samples]
    masks = ["".join(str(int(m)) for m in sample.loss_mask_R) for sample in samples]
    assert any(len({len(g.rollouts) for g in groups}) > 1 for groups in drawn), "ragged groups"
    assert any(len(rollout.samples) > 1 for rollout in rollouts), "fan-out"
    assert any(mask == "" for mask in masks), "an empty response"
    assert any(mask and "1" not in mask for mask in masks), "a fully masked sample"
    assert any(m.strip("0") and "0" in m.strip("0") for m in masks), "several turns"
    assert any(all(s.active_tokens == 0 for s in r.samples) for r in rollouts), "an empty rollout"
    assert any(
        all(s.active_tokens == 0 for r in g.rollouts for s in r.samples)
        for groups in drawn
        for g in groups
    ), "an empty prompt"
    assert {rollout.finish for rollout in rollouts} == set(Finish)


BOUNDED = ("sample_mean", "tis", "gspo", "dual_clip", "cispo")


def bound_fractions(folders) -> Iterator[tuple[str, dict[str, float]]]:
    for name in BOUNDED:
        for seed in SEEDS:
            drawn = seeded(folders["llama"], seed)
            step = rows_of(drawn, Setting(LOSSES[name]), model_of(folders["llama"]))
            yield name, expect(step, LOSSES[name]).metrics


def test_every_bound_binds_on_some_tokens_and_not_on_others(folders):
    found = list(bound_fractions(folders))
    for name in BOUNDED:
        for metric in ("clip_fraction_low", "clip_fraction_high", "correction_fraction"):
            values = [metrics[metric] for loss, metrics in found if loss == name]
            assert max(values) > 0, f"{metric} under {name}"
            assert min(values) < 1, f"{metric} under {name}"


def test_an_incomplete_last_step_is_smaller(folders):
    setting = Setting(MODES["sample_mean"], steps_per_iteration=2)
    steps = planned(seeded(folders["llama"], 2, prompts=5), setting)
    assert [step.prompts for step in steps] == [3, 2]

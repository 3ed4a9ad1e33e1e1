import pytest
import torch
from groups import group

from slime.config.schema import (
    K3,
    ConstantLoss,
    DrGrpoAdvantage,
    GrpoAdvantage,
    PromptMeanLoss,
    SampleMeanLoss,
)
from slime.plan import build_planner

GROUPS = [
    group(1, [1.0, 0.0, 0.0], [2, 3, 4]),
    group(2, [1.0, 1.0], [5, 1]),  # no variance: idle
    group(3, [0.0, 1.0], [0, 6]),  # its first rollout has no active token
    group(4, [0.0, 0.0], [7, 8]),  # idle
]


def test_idle_samples_are_left_out_but_count_in_the_weights():
    [step] = build_planner(ConstantLoss(divisor=10.0), DrGrpoAdvantage(), 1)(GROUPS)
    assert [s.sample.rollout_id for s in step.samples] == [100, 101, 102, 301]
    assert {s.weight for s in step.samples} == {1 / (9 * 10)}
    assert (step.rollouts, step.prompts) == (9, 4)
    assert step.active_tokens == 2 + 3 + 4 + 5 + 1 + 0 + 6 + 7 + 8


def test_every_sample_is_kept_when_told_so():
    config = SampleMeanLoss(skip_idle_samples=False)
    [step] = build_planner(config, DrGrpoAdvantage(), 1)(GROUPS)
    assert len(step.samples) == 9


@pytest.mark.parametrize(
    "config", [SampleMeanLoss(kl=K3()), SampleMeanLoss(entropy_coefficient=0.1)]
)
def test_with_a_kl_term_or_an_entropy_bonus_no_sample_is_idle(config):
    [step] = build_planner(config, DrGrpoAdvantage(), 1)(GROUPS)
    assert len(step.samples) == 9


def test_a_step_without_any_gradient_keeps_one_sample_so_that_it_is_still_taken():
    [step] = build_planner(SampleMeanLoss(), DrGrpoAdvantage(), 1)([GROUPS[1], GROUPS[3]])
    assert len(step.samples) == 1
    assert not step.samples[0].advantages_R.any()


def test_steps_take_whole_prompts_and_weigh_their_own_rollouts_only():
    steps = build_planner(PromptMeanLoss(), DrGrpoAdvantage(), 2)(GROUPS)
    prompts = [{s.sample.prompt_id for s in step.samples} for step in steps]
    assert prompts == [{1}, {3}]
    assert [step.prompts for step in steps] == [2, 2]
    assert steps[0].samples[0].weight == pytest.approx(1 / (2 * (2 + 3 + 4)))


def test_advantages_stand_on_every_response_token():
    [step] = build_planner(SampleMeanLoss(), DrGrpoAdvantage(), 1)(GROUPS[:1])
    torch.testing.assert_close(step.samples[0].advantages_R, torch.full((2,), 2 / 3))
    torch.testing.assert_close(step.samples[2].advantages_R, torch.full((4,), -1 / 3))


def test_groups_that_do_not_split_into_equal_steps_are_an_error():
    with pytest.raises(ValueError, match="4 groups do not split into 3 equal steps"):
        build_planner(SampleMeanLoss(), GrpoAdvantage(), 3)(GROUPS)

import re
from dataclasses import replace

import pytest
import torch
from groups import group, sample
from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import (
    K3,
    SFT,
    AuxiliaryAggregation,
    ConstantLoss,
    DrGrpoAdvantage,
    EmptyUnits,
    IncompleteStep,
    PromptMeanLoss,
    ReinforcePlusPlusAdvantage,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.config.schema.steps import StepsError, filtered_step_sizes, step_sizes
from slime.data import Finish, Group, Prompt, Rollout
from slime.plan import build_planner


def planner(loss, steps=1, incomplete=IncompleteStep.refuse):
    return build_planner(loss, DrGrpoAdvantage(), steps, incomplete)


GROUPS = [
    group(1, [1.0, 0.0, 0.0], [2, 3, 4]),
    group(2, [1.0, 1.0], [5, 1]),  # no variance: idle
    group(3, [0.0, 1.0], [0, 6]),  # its first rollout has no active token
    group(4, [0.0, 0.0], [7, 8]),  # idle
]


def test_idle_samples_are_left_out_but_count_in_the_weights():
    [step] = planner(ConstantLoss(divisor=10.0))(GROUPS)
    assert [s.sample.rollout_id for s in step.samples] == [100, 101, 102, 301]
    assert {s.weight for s in step.samples} == {1 / (9 * 10)}
    assert (step.rollouts, step.prompts) == (9, 4)
    assert step.active_tokens == 2 + 3 + 4 + 5 + 1 + 0 + 6 + 7 + 8


def test_every_sample_is_kept_when_told_so():
    config = SampleMeanLoss(skip_idle_samples=False)
    [step] = planner(config)(GROUPS)
    assert len(step.samples) == 9


@pytest.mark.parametrize(
    "config", [SampleMeanLoss(kl=K3()), SampleMeanLoss(entropy_coefficient=0.1)]
)
def test_with_a_kl_term_or_an_entropy_bonus_no_sample_is_idle(config):
    [step] = planner(config)(GROUPS)
    assert len(step.samples) == 9


def test_under_sft_no_sample_is_idle_because_no_advantage_is_read():
    [step] = planner(SampleMeanLoss(objective=SFT()))(GROUPS)
    assert len(step.samples) == 9


def test_a_step_without_any_gradient_keeps_one_sample_so_that_it_is_still_taken():
    [step] = planner(SampleMeanLoss())([GROUPS[1], GROUPS[3]])
    assert len(step.samples) == 1
    assert not step.samples[0].advantages_R.any()


def test_steps_take_whole_prompts_and_weigh_their_own_rollouts_only():
    steps = planner(PromptMeanLoss(), steps=2)(GROUPS)
    prompts = [{s.sample.prompt_id for s in step.samples} for step in steps]
    assert prompts == [{1}, {3}]
    assert [step.prompts for step in steps] == [2, 2]
    assert steps[0].samples[0].weight == pytest.approx(1 / (2 * (2 + 3 + 4)))


def test_advantages_stand_on_every_response_token():
    [step] = planner(SampleMeanLoss())(GROUPS[:1])
    torch.testing.assert_close(step.samples[0].advantages_R, torch.full((2,), 2 / 3))
    torch.testing.assert_close(step.samples[2].advantages_R, torch.full((4,), -1 / 3))


def test_a_masked_token_has_no_advantage():
    first, second = group(1, [1.0, 0.0], [2, 3]).rollouts
    masked = replace(first, samples=(sample(1, 100, 2, masked=1),))
    [step] = planner(SampleMeanLoss())([Group(Prompt(1, "q", "a"), (masked, second))])
    assert step.samples[0].advantages_R.tolist() == [0.0, 0.5, 0.5]


def test_a_step_is_whitened_by_itself():
    """Over its active tokens: 2, 2 of 1 and 3 of 0 in the first step."""
    config = ReinforcePlusPlusAdvantage(whitening_epsilon=1e-12)
    groups = [group(1, [1.0, 0.0], [2, 3]), group(2, [9.0, 5.0], [1, 1])]
    plan = build_planner(SampleMeanLoss(), config, 2, IncompleteStep.refuse)
    first, second = plan(groups)
    root = (0.4 * 0.6) ** 0.5
    torch.testing.assert_close(first.samples[0].advantages_R, torch.full((2,), 0.6 / root))
    torch.testing.assert_close(first.samples[1].advantages_R, torch.full((3,), -0.4 / root))
    torch.testing.assert_close(second.samples[0].advantages_R, torch.ones(1))


def test_truncated_rollouts_are_not_among_the_tokens_that_are_whitened():
    config = ReinforcePlusPlusAdvantage(whitening_epsilon=1e-12)
    first, second = group(1, [1.0, 0.0], [2, 3]).rollouts
    cut = replace(first, finish=Finish.length)
    plan = build_planner(SampleMeanLoss(mask_truncated=True), config, 1, IncompleteStep.refuse)
    [step] = plan([Group(Prompt(1, "q", "a"), (cut, second)), group(2, [1.0], [3])])
    values = [s.advantages_R.tolist() for s in step.samples]
    assert values == [pytest.approx([-1.0] * 3), pytest.approx([1.0] * 3)]


def test_groups_of_one_are_trained_on_without_a_baseline():
    groups = [group(p, [reward], [2]) for p, reward in enumerate([1.0, 0.0, 0.0])]
    plan = build_planner(SampleMeanLoss(), ReinforcePlusPlusAdvantage(), 1, IncompleteStep.refuse)
    assert len(plan(groups)[0].samples) == 3
    assert len(planner(SampleMeanLoss())(groups)[0].samples) == 1  # the one of an idle step


# How many prompts become how many steps


def one_prompt_each(count):
    return [group(number, [1.0, 0.0], [1 + number, 2]) for number in range(count)]


def test_groups_that_do_not_split_into_equal_steps_are_an_error_that_says_what_to_write():
    with pytest.raises(ValueError, match=r"incomplete_step=train .* incomplete_step=drop") as error:
        planner(SampleMeanLoss(), steps=3)(GROUPS)
    assert str(error.value).endswith("or a steps_per_iteration that divides 4")


def test_a_smaller_last_step_is_trained_with_its_own_n_and_p():
    steps = planner(PromptMeanLoss(), steps=3, incomplete=IncompleteStep.train)(one_prompt_each(8))
    assert [step.prompts for step in steps] == [3, 3, 2]
    assert [step.rollouts for step in steps] == [6, 6, 4]
    last = steps[-1]
    assert [s.sample.prompt_id for s in last.samples] == [6, 6, 7, 7]
    assert last.samples[0].weight == pytest.approx(1 / (2 * (7 + 2)))
    assert last.samples[0].auxiliary_weight == pytest.approx(1 / (4 * 7))
    assert last.active_tokens == 7 + 2 + 8 + 2


def test_what_is_left_over_can_be_dropped_and_trains_nothing():
    steps = planner(PromptMeanLoss(), steps=3, incomplete=IncompleteStep.drop)(one_prompt_each(8))
    assert [[s.sample.prompt_id for s in step.samples[::2]] for step in steps] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


@given(
    prompts=st.integers(0, 60), steps=st.integers(1, 12), incomplete=st.sampled_from(IncompleteStep)
)
def test_steps_are_as_many_as_asked_for_and_equal_but_for_the_last(prompts, steps, incomplete):
    try:
        sizes = step_sizes(prompts, steps, incomplete)
    except StepsError as refused:
        advice = re.findall(r"steps_per_iteration=(\d+)", str(refused))
        if prompts:
            assert advice or incomplete is IncompleteStep.refuse
        for fitting in filter(None, map(int, advice)):
            assert len(step_sizes(prompts, fitting, incomplete)) == fitting
        assert prompts < steps or prompts % steps
        return
    assert len(sizes) == steps
    assert min(sizes) >= 1
    assert len(set(sizes[:-1])) <= 1
    match incomplete:
        case IncompleteStep.refuse:
            assert sum(sizes) == prompts
            assert len(set(sizes)) == 1
        case IncompleteStep.train:
            assert sum(sizes) == prompts
            assert sizes[-1] <= sizes[0]
        case IncompleteStep.drop:
            assert 0 <= prompts - sum(sizes) < steps
            assert len(set(sizes)) == 1


def test_steps_that_a_smaller_last_one_leaves_too_few_of_are_an_error_that_names_the_right_number():
    with pytest.raises(
        ValueError, match=r"steps of 2 prompts are only 5; write steps_per_iter.*=5"
    ):
        step_sizes(10, 6, IncompleteStep.train)


# What a filter left


def test_fewer_groups_than_steps_make_fewer_steps():
    for incomplete in (IncompleteStep.train, IncompleteStep.drop):
        plan = planner(SampleMeanLoss(), steps=4, incomplete=incomplete)
        assert [step.prompts for step in plan(one_prompt_each(3))] == [1, 1, 1]


def test_no_groups_make_no_steps():
    assert planner(SampleMeanLoss())([]) == []


@given(prompts=st.integers(0, 60), steps=st.integers(1, 12))
def test_what_a_filter_left_is_split_as_it_would_be_or_into_fewer_steps(prompts, steps):
    trained = filtered_step_sizes(prompts, steps, IncompleteStep.train)
    dropped = filtered_step_sizes(prompts, steps, IncompleteStep.drop)
    assert sum(trained) == prompts
    assert max(len(trained), len(dropped)) <= steps
    assert len(set(trained[:-1])) <= 1
    assert trained == sorted(trained, reverse=True)
    assert len(set(dropped)) <= 1
    assert 0 <= prompts - sum(dropped) < steps
    for incomplete, sizes in ((IncompleteStep.train, trained), (IncompleteStep.drop, dropped)):
        try:
            assert sizes == step_sizes(prompts, steps, incomplete)
        except StepsError:
            assert len(sizes) < steps or not prompts


def test_what_a_filter_left_must_split_equally_unless_told_otherwise():
    assert filtered_step_sizes(6, 3, IncompleteStep.refuse) == [2, 2, 2]
    with pytest.raises(StepsError, match="incomplete_step=train"):
        filtered_step_sizes(7, 3, IncompleteStep.refuse)


# Truncated rollouts


def ending(rollout_group, *finishes):
    rollouts = zip(rollout_group.rollouts, finishes, strict=True)
    return replace(rollout_group, rollouts=tuple(replace(r, finish=f) for r, f in rollouts))


@pytest.mark.parametrize("finish", [Finish.length, Finish.aborted])
@pytest.mark.parametrize(
    ("loss", "weight"),
    [
        (SampleMeanLoss, 1 / (3 * 2)),
        (PromptMeanLoss, 1 / (1 * (2 + 4))),
        (TokenMeanLoss, 1 / (2 + 4)),
    ],
)
def test_truncated_rollouts_leave_numerator_and_denominators_but_not_the_baseline(
    loss, weight, finish
):
    groups = [ending(group(1, [1.0, 0.0, 0.0], [2, 3, 4]), Finish.stop, finish, Finish.stop)]
    [step] = planner(loss(mask_truncated=True))(groups)
    assert [s.sample.rollout_id for s in step.samples] == [100, 102]
    assert step.active_tokens == 2 + 4
    assert step.rollouts == 3
    assert step.samples[0].weight == pytest.approx(weight)
    torch.testing.assert_close(step.samples[0].advantages_R, torch.full((2,), 2 / 3))


def test_truncated_rollouts_leave_n_too_when_empty_units_are_dropped():
    groups = [ending(group(1, [1.0, 0.0], [2, 3]), Finish.stop, Finish.length)]
    config = SampleMeanLoss(mask_truncated=True, empty_units=EmptyUnits.drop)
    [step] = planner(config)(groups)
    assert step.samples[0].weight == 1 / 2


def test_truncated_rollouts_train_like_the_others_unless_told_otherwise():
    groups = [ending(group(1, [1.0, 0.0], [2, 3]), Finish.length, Finish.aborted)]
    [step] = planner(SampleMeanLoss())(groups)
    assert [s.sample.active_tokens for s in step.samples] == [2, 3]


# Ids


def test_a_prompt_in_two_groups_is_an_error_that_names_it():
    for steps in (1, 2):
        with pytest.raises(ValueError, match="prompt 7 occurs in two groups"):
            planner(SampleMeanLoss(), steps=steps)([group(7, [1.0, 0.0], [2, 3])] * 2)


def group_of(*samples):
    return Group(Prompt(1, "q", "a"), (Rollout(5, 1, samples, "", Finish.stop, 1.0),))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (sample(2, 5, 3), "rollout 5 of prompt 1 holds a sample of prompt 2"),
        (sample(1, 6, 3), "rollout 5 holds a sample of rollout 6"),
    ],
)
def test_samples_of_another_rollout_or_prompt_are_an_error(wrong, said):
    with pytest.raises(ValueError, match=said):
        planner(SampleMeanLoss())([group_of(sample(1, 5, 2), wrong)])


@pytest.mark.parametrize(
    "config",
    [
        PromptMeanLoss(),
        SampleMeanLoss(auxiliary_aggregation=AuxiliaryAggregation.prompt_mean),
        PromptMeanLoss(auxiliary_aggregation=AuxiliaryAggregation.same),
    ],
)
@pytest.mark.parametrize("ids", [(None, None), (1, None)])
def test_under_prompt_mean_a_sample_without_a_prompt_id_is_an_error_and_never_a_guess(config, ids):
    groups = [group_of(*(sample(prompt_id, 5, 2) for prompt_id in ids))]
    with pytest.raises(ValueError, match="prompt_mean needs the prompt id of every sample"):
        planner(config)(groups)
    assert planner(SampleMeanLoss())(groups)


def test_a_rollout_without_samples_is_an_error_because_n_would_miss_it():
    [first, second] = GROUPS[0].rollouts[:2]
    torn = Group(GROUPS[0].prompt, (first, replace(second, samples=())))
    with pytest.raises(ValueError, match="rollout 101 has no samples"):
        planner(SampleMeanLoss())([torn])

"""A replay is checked against the config and the model before anything starts."""

import json
from dataclasses import replace

import pytest
import torch

from slime.config.schema import (
    ConfigError,
    FilterConfig,
    IncompleteStep,
    ParallelConfig,
    ZeroVarianceFilter,
)
from slime.data import Finish, Group, Prompt, Rollout, Sample
from slime.rollout.engine import Sampling
from slime.rollout.replay import save_iteration
from slime.rollout.replay_check import ReplayFacts, check_replay

SAMPLING = Sampling(0.7, 0.9, max_response_tokens=4, stop_token_ids=frozenset())

FITS = ReplayFacts(
    iterations=2,
    steps_per_iteration=2,
    incomplete_step=IncompleteStep.refuse,
    filter=FilterConfig(),
    parallel=ParallelConfig(max_tokens_per_microbatch=6),
    temperature=0.7,
    top_p=0.9,
    vocabulary_size=10,
    max_positions=6,
)


def sample(rollout_id, prompt=(5, 6), response=(7, 8, 9), log_prob=-1.0):
    return Sample(
        prompt_id=rollout_id,
        rollout_id=rollout_id,
        prompt_tokens_P=torch.tensor(prompt, dtype=torch.int64),
        response_tokens_R=torch.tensor(response, dtype=torch.int64),
        loss_mask_R=torch.ones(len(response), dtype=torch.bool),
        rollout_log_probs_R=torch.full((len(response),), log_prob),
    )


def group(number, reward=1.0, **values):
    a_sample = sample(number, **values)
    rollout = Rollout(number, number, (a_sample,), "t", Finish.stop, reward)
    return Group(Prompt(number, "q", "a"), (rollout,))


@pytest.fixture
def said(tmp_path):
    """The lines said of two iterations: a right one, and one of these groups."""

    def said(groups, run=FITS, plan=len):
        save_iteration(tmp_path, SAMPLING, 0, [group(0), group(1)])
        save_iteration(tmp_path, SAMPLING, 1, groups)
        try:
            check_replay(tmp_path, run, plan)
        except ConfigError as error:
            return [line.replace(str(tmp_path), "HERE") for line in str(error).splitlines()]
        return []

    return said


def test_what_fits_is_accepted_and_planned(said):
    planned = []
    assert said([group(2, response=(7, 8, 9, 9)), group(3)], plan=planned.append) == []
    assert [[g.prompt.id for g in groups] for groups in planned] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"temperature": 1.0},
            "rollout.temperature=1.0: iteration 0 of HERE (rollout.engine.path) was sampled with "
            "0.7; write rollout.temperature=0.7",
        ),
        (
            {"top_p": 1.0},
            "rollout.top_p=1.0: iteration 0 of HERE (rollout.engine.path) was sampled with 0.9; "
            "write rollout.top_p=0.9",
        ),
        (
            {"steps_per_iteration": 3},
            "steps_per_iteration=3: iteration 0 of HERE (rollout.engine.path) has 2 groups: a step "
            "takes at least one prompt; write steps_per_iteration=2 or less",
        ),
        (
            {"parallel": ParallelConfig(max_tokens_per_microbatch=5)},
            "parallel.max_tokens_per_microbatch=5: the longest sample of iteration 1 of HERE "
            "(rollout.engine.path) has 6 tokens; write parallel.max_tokens_per_microbatch=6 or "
            "more",
        ),
        (
            {"parallel": ParallelConfig(max_tokens_per_microbatch=6, context=2)},
            "parallel.max_tokens_per_microbatch=6: the longest sample of iteration 1 of HERE "
            "(rollout.engine.path) has 6 tokens; write parallel.max_tokens_per_microbatch=8 or "
            "more",
        ),
        (
            {"max_positions": 3},
            "rollout.engine.path: the longest sample of iteration 1 of HERE has 6 tokens, more "
            "than the model's 3 positions; write model=<the model that generated it>",
        ),
        (
            {"vocabulary_size": 9},
            "rollout.engine.path: iteration 0 of HERE has the token id 9, the model's are 0 to 8: "
            "another model or tokenizer wrote it; write model=<that model>",
        ),
        (
            {"iterations": 3},
            "iterations=3: HERE (rollout.engine.path) has only 2 saved iterations; write "
            "iterations=2 or less",
        ),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_to_write(said, values, line):
    assert said([group(2, response=(7, 8, 9, 9)), group(3)], replace(FITS, **values)) == [line]


def test_groups_that_do_not_fill_equal_steps_are_for_incomplete_step_to_decide(said):
    three = [group(2), group(3), group(4)]
    [line] = said(three)
    assert line.startswith(
        "steps_per_iteration=2: iteration 1 of HERE (rollout.engine.path) has 3 groups: a step "
        "takes whole prompts"
    )


@pytest.mark.parametrize("decided", [IncompleteStep.train, IncompleteStep.drop])
def test_groups_that_do_not_fill_equal_steps_are_accepted_when_told_so(said, decided):
    assert said([group(2), group(3), group(4)], replace(FITS, incomplete_step=decided)) == []


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (group(2, reward=None), "iteration 1 of HERE: rollout 2 has the reward None"),
        (
            group(2, log_prob=-torch.inf),
            "iteration 1 of HERE: rollout 2 has rollout_log_probs that are not finite",
        ),
        (
            group(2, log_prob=torch.nan),
            "iteration 1 of HERE: rollout 2 has rollout_log_probs that are not finite",
        ),
        (group(2, response=(7, -1)), "iteration 1 of HERE has the token id -1"),
        (group(2, prompt=(4, 10)), "iteration 1 of HERE has the token id 10"),
        (group(2, prompt=()), "iteration 1 of HERE: rollout 2 has a sample without prompt tokens"),
        (
            Group(Prompt(2, "q", "a"), ()),
            "iteration 1 of HERE has a group without rollouts",
        ),
    ],
)
def test_values_that_cannot_be_trained_on_are_named(said, wrong, line):
    [found] = said([wrong, group(3)])
    assert found.startswith(f"rollout.engine.path: {line}")


def test_an_iteration_without_groups_is_named(said):
    assert said([]) == [
        "rollout.engine.path: iteration 1 of HERE has no groups; a replay of what "
        "rollout/filter=zero_variance left needs rollout/filter=zero_variance too"
    ]


FILTERED = replace(FITS, filter=ZeroVarianceFilter(), incomplete_step=IncompleteStep.train)


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_a_filter_may_have_left_any_number_of_groups(said, left):
    assert said([group(2 + i) for i in range(left)], FILTERED) == []


def test_what_a_filter_left_must_split_where_nothing_else_is_said(said):
    refuse = replace(FILTERED, incomplete_step=IncompleteStep.refuse)
    [line] = said([group(2)], refuse)
    assert line.startswith("steps_per_iteration=2: iteration 1 of HERE (rollout.engine.path) has 1")


def test_shaping_written_by_hand_must_be_a_finite_number(tmp_path):
    save_iteration(tmp_path, SAMPLING, 0, [group(0), group(1)])
    index = tmp_path / "iteration_00000" / "rollouts.json"
    index.write_text(index.read_text().replace('"shaping": 0.0', '"shaping": "-1"', 1))
    with pytest.raises(ConfigError, match="rollout 0 has the shaping -1, it must be a finite"):
        check_replay(tmp_path, replace(FITS, iterations=1), len)


@pytest.mark.parametrize("reward", ["NaN", "Infinity", '"1"', "true", "1" + "0" * 400])
def test_a_reward_written_by_hand_must_be_a_finite_number(tmp_path, reward):
    save_iteration(tmp_path, SAMPLING, 0, [group(0), group(1, reward=12345.0)])
    index = tmp_path / "iteration_00000" / "rollouts.json"
    index.write_text(index.read_text().replace("12345.0", reward))
    assert json.loads(index.read_text())
    with pytest.raises(ConfigError, match="rollout 1 has the reward"):
        check_replay(tmp_path, replace(FITS, iterations=1), len)


def test_every_kind_of_problem_is_told_once(said):
    wrong = [group(2, reward=None), group(3, reward=None, response=(70,)), group(4)]
    lines = said(wrong, replace(FITS, temperature=1.0))
    assert [line.partition(":")[2][:24] for line in lines] == [
        " iteration 0 of HERE (ro",
        " iteration 1 of HERE (ro",
        " iteration 1 of HERE: ro",
        " iteration 1 of HERE has",
    ]


def test_what_only_the_planner_sees_is_one_line_too(said):
    def plan(groups):
        if groups[0].prompt.id == 2:
            raise ValueError("rollout 2 occurs twice")

    assert said([group(2), group(2)], plan=plan) == [
        "rollout.engine.path: iteration 1 of HERE: rollout 2 occurs twice; save it again"
    ]


def test_micro_batches_by_count_have_no_bound_that_a_sample_could_exceed(said):
    by_count = ParallelConfig(max_tokens_per_microbatch=1, microbatches=2)
    assert said([group(2), group(3)], replace(FITS, parallel=by_count)) == []

import json
import math
from dataclasses import replace

from groups import collected, group

from slime.config.schema import PPO, SFT, NoTracking, Precision
from slime.data.metrics import NOTHING_TO_TRAIN
from slime.reward import RewardFailure
from slime.rollout.selection import Selection
from slime.tracking.agreement import agreement_bound
from slime.tracking.records import Times, rollout_metrics
from slime.tracking.run_log import RunLog, StepNumber

GROUPS = (group(1, [1.0, 0.0], [2, 4]), group(2, [0.0, 0.0], [1, 1]))
FAILURE = RewardFailure(201, "question 2", "answer 1", "42", "ZeroDivisionError: boom")
SELECTION = collected(GROUPS, FAILURE)
TIMES = Times.of(SELECTION, train_s=1, push_s=0, checkpoint_s=0, iteration_s=2)
TAKEN = replace(NOTHING_TO_TRAIN, skipped=False, active_tokens=6)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_last_step_of_an_iteration_carries_the_iterations_numbers(tmp_path):
    with RunLog(NoTracking(), tmp_path, iterations=1, agreement=1e-3) as log:
        log.step(StepNumber(0, 0), TAKEN)
        log.last_step(StepNumber(0, 1), TAKEN, rollout_metrics(SELECTION, trained_prompts=2), TIMES)
    first, last = lines(tmp_path / "metrics.jsonl")
    assert (first["step"], last["step"]) == (0, 1)
    assert "rollout/reward_mean" not in first
    assert last["rollout/reward_mean"] == 0.25
    assert last["time/iteration_s"] == 2


def test_prompts_that_fill_no_step_are_counted_and_warned_about_once(tmp_path, capsys):
    with RunLog(NoTracking(), tmp_path, iterations=3, agreement=1e-3) as log:
        for iteration, trained in enumerate([2, 1, 1]):
            rollout = rollout_metrics(SELECTION, trained_prompts=trained)
            log.last_step(StepNumber(iteration, iteration), TAKEN, rollout, TIMES)
    records = lines(tmp_path / "metrics.jsonl")
    assert [record["rollout/dropped_prompts"] for record in records] == [0, 1, 1]
    warning = "incomplete_step=drop: 1 of 2 prompts fill no step"
    assert capsys.readouterr().out.count(warning) == 1


def test_samples_hold_the_first_rollout_of_some_groups_and_every_failed_reward(tmp_path):
    config = NoTracking(samples_per_iteration=1)
    with RunLog(config, tmp_path, iterations=1, agreement=1e-3) as log:
        log.samples(0, SELECTION)
    shown = lines(tmp_path / "samples.jsonl")
    assert [(s["rollout_id"], s["reward_failure"]) for s in shown] == [
        (100, None),
        (201, "ZeroDivisionError: boom"),
    ]


def test_a_failed_reward_is_reported_with_its_sample(tmp_path, capsys):
    with RunLog(NoTracking(), tmp_path, iterations=1, agreement=1e-3) as log:
        log.samples(0, SELECTION)
    printed = capsys.readouterr().out
    for part in ("warning", "'answer 1'", "'question 2'", "ZeroDivisionError: boom"):
        assert part in printed


def test_samples_say_what_was_added_to_the_reward_and_whether_they_were_trained_on(tmp_path):
    first = replace(GROUPS[0].rollouts[0], shaping=-0.5)
    shaped = replace(GROUPS[0], rollouts=(first, GROUPS[0].rollouts[1]))
    selection = Selection(collected([shaped, GROUPS[1]]).rounds, trained=(shaped,))
    with RunLog(NoTracking(), tmp_path, iterations=1, agreement=1e-3) as log:
        log.samples(0, selection)
    shown = lines(tmp_path / "samples.jsonl")
    assert [(s["reward"], s["shaping"], s["trained"]) for s in shown] == [
        (1.0, -0.5, True),
        (0.0, 0.0, False),
    ]


def test_prompts_that_were_never_found_are_warned_about_once(tmp_path, capsys):
    unfilled = replace(rollout_metrics(SELECTION, trained_prompts=2), rounds=7, unfilled_prompts=1)
    with RunLog(NoTracking(), tmp_path, iterations=2, agreement=1e-3) as log:
        for iteration in range(2):
            log.last_step(StepNumber(iteration, iteration), TAKEN, unfilled, TIMES)
    printed = capsys.readouterr().out
    assert printed.count("after 7 rounds (rollout.filter.max_rounds) 1 prompts were still") == 1


def test_an_iteration_whose_every_prompt_was_filtered_out_says_so(tmp_path, capsys):
    nothing = rollout_metrics(Selection(SELECTION.rounds, trained=()), trained_prompts=0)
    with RunLog(NoTracking(), tmp_path, iterations=1, agreement=1e-3) as log:
        log.last_step(StepNumber(0, 3), NOTHING_TO_TRAIN, nothing, TIMES)
    printed = capsys.readouterr().out
    assert "step 3 was skipped: the rewards of every group are all equal" in printed
    assert "no active token" not in printed


def test_skipped_steps_are_warned_about_with_their_reason(tmp_path, capsys):
    with RunLog(NoTracking(), tmp_path, iterations=1, agreement=1e-3) as log:
        log.step(StepNumber(0, 4), replace(TAKEN, skipped=True))
        log.step(StepNumber(0, 5), NOTHING_TO_TRAIN)
    printed = capsys.readouterr().out
    assert "step 4 was skipped: its loss or gradient is not finite" in printed
    assert "step 5 was skipped: no active token" in printed


def test_log_probs_that_engine_and_trainer_do_not_share_are_warned_about(tmp_path, capsys):
    with RunLog(NoTracking(), tmp_path, iterations=1, agreement=1e-3) as log:
        log.step(StepNumber(0, 6), replace(TAKEN, rollout_logprob_abs_diff=9e-4))
        log.step(StepNumber(0, 7), replace(TAKEN, rollout_logprob_abs_diff=0.2))
    printed = capsys.readouterr().out
    assert "step 6" not in printed
    assert "step 7: engine and trainer" in printed
    assert "differ by 0.2 on average (more than 0.001)" in printed


def test_the_bound_is_that_of_the_precision_and_there_is_none_with_a_nucleus():
    assert agreement_bound(Precision.float32, 1.0, PPO()) == 1e-3
    assert agreement_bound(Precision.bfloat16, 1.0, PPO()) == 5e-2
    assert agreement_bound(Precision.float32, 0.9, PPO()) == math.inf


def test_texts_that_nobody_sampled_have_no_log_probs_to_agree_about():
    assert agreement_bound(Precision.float32, 1.0, SFT()) == math.inf

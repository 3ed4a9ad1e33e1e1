import json
import math
from dataclasses import replace

import pytest
from groups import collected, group, sample

from slime.config.schema import ConfigError
from slime.data import Finish, Group, Prompt, Rollout
from slime.reward import RewardFailure
from slime.rollout.selection import Round, Selection
from slime.tracking.json_lines import JsonLines
from slime.tracking.past import Past
from slime.tracking.records import Times, rollout_metrics


def test_rollout_metrics_are_means_over_rollouts_not_over_samples():
    fan_out = Rollout(
        id=7,
        prompt_id=3,
        samples=(sample(3, 7, 4), sample(3, 7, 6)),
        text="",
        finish=Finish.length,
        reward=1.0,
    )
    groups = [group(1, [1.0, 0.0], [2, 4]), Group(Prompt(3, "q", "a"), (fan_out,))]
    failure = RewardFailure(100, "q", "r", "a", "boom")
    metrics = rollout_metrics(collected(groups, failure), trained_prompts=2)
    assert metrics.rollouts == 3
    assert metrics.prompts == 2
    assert metrics.reward_mean == pytest.approx(2 / 3)
    assert metrics.reward_std == pytest.approx(math.sqrt(2) / 3)
    assert metrics.response_tokens_mean == pytest.approx((2 + 4 + 10) / 3)
    assert metrics.response_tokens_max == 10
    assert metrics.truncated_fraction == pytest.approx(1 / 3)
    assert metrics.zero_variance_fraction == pytest.approx(1 / 2)
    assert metrics.reward_failures == 1
    assert metrics.active_tokens == 2 + 4 + 10
    assert metrics.neg_logprob_mean == pytest.approx(0.75)  # -1 to -0.5, evenly, in each sample


MIXED = group(1, [1.0, 0.0, 0.0, 0.0], [2, 4, 2, 4])
RIGHT = group(2, [1.0, 1.0], [2, 4])
WRONG = group(3, [0.0, 0.0], [2, 4])


def filtered(*rounds, trained, unfilled=0):
    drawn = tuple(Round(groups, (), 1.0, 0.5) for groups in rounds)
    return Selection(drawn, trained, unfilled)


def test_what_a_filter_left_out_still_counts_in_every_mean():
    selection = filtered((RIGHT, WRONG), (MIXED,), trained=(MIXED,))
    metrics = rollout_metrics(selection, trained_prompts=1)
    assert metrics == replace(
        rollout_metrics(collected([RIGHT, WRONG, MIXED]), trained_prompts=3),
        rounds=2,
        filtered_prompts=2,
        trained_reward_mean=0.25,
    )
    assert metrics.reward_mean == pytest.approx(3 / 8)
    assert metrics.zero_variance_fraction == pytest.approx(2 / 3)


def test_every_prompt_is_trained_filtered_or_dropped():
    selection = filtered((RIGHT, WRONG, MIXED), trained=(MIXED, RIGHT), unfilled=1)
    metrics = rollout_metrics(selection, trained_prompts=1)
    assert (metrics.prompts, metrics.filtered_prompts, metrics.dropped_prompts) == (3, 1, 1)
    assert (metrics.rounds, metrics.unfilled_prompts) == (1, 1)


def test_where_a_filter_left_nothing_there_is_no_mean_of_it():
    metrics = rollout_metrics(filtered((RIGHT, WRONG), trained=()), trained_prompts=0)
    assert metrics.trained_reward_mean is None
    assert metrics.reward_mean == pytest.approx(0.5)


def test_an_iteration_that_replays_nothing_has_no_means():
    metrics = rollout_metrics(collected([]), trained_prompts=0)
    assert (metrics.reward_mean, metrics.reward_std, metrics.shaping_mean) == (None, None, None)
    assert (metrics.prompts, metrics.response_tokens_max, metrics.neg_logprob_mean) == (0, 0, 0.0)


def test_shaping_has_a_mean_of_its_own_and_is_in_no_reward():
    first, second = RIGHT.rollouts
    shaped = replace(RIGHT, rollouts=(first, replace(second, shaping=-0.5)))
    metrics = rollout_metrics(collected([shaped]), trained_prompts=1)
    assert (metrics.shaping_mean, metrics.reward_mean) == (-0.25, 1.0)
    assert metrics.zero_variance_fraction == 1


def test_a_rollout_without_a_reward_is_an_error():
    with pytest.raises(ValueError, match="no reward"):
        rollout_metrics(collected([group(1, [1.0, None], [2, 4])]), trained_prompts=1)


def test_times_and_throughput_are_over_all_rounds_and_the_whole_iteration():
    selection = filtered((WRONG,), (MIXED,), trained=(MIXED,))
    times = Times.of(selection, train_s=2.0, push_s=0.25, checkpoint_s=0.5, iteration_s=6.0)
    assert (times.generate_s, times.reward_s) == (2.0, 1.0)
    assert (times.train_s, times.push_s, times.iteration_s) == (2.0, 0.25, 6.0)
    assert times.response_tokens_per_s == pytest.approx((6 + 12) / 6)


def test_a_json_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write({"iteration": 0, "train/loss": 1e-9})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "iteration": 0,
        "train/loss": 1e-9,
    }
    sink.close()


def test_the_metrics_of_another_run_are_never_added_to(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write({"step": 0})
    sink.close()
    with pytest.raises(FileExistsError):
        JsonLines(tmp_path / "metrics.jsonl")


def test_a_run_that_goes_on_writes_after_what_its_checkpoint_knows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    sink = JsonLines(path)
    sink.write({"step": 0, "text": "é"})
    length = sink.on_disk()
    sink.write({"step": 1})
    sink.close()
    assert length == len(path.read_bytes().splitlines(keepends=True)[0])

    again = JsonLines(path, Past(1, {"metrics.jsonl": length}, None))
    again.write({"step": 10})
    again.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 10]


def test_half_a_line_of_a_run_that_was_killed_is_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"st')
    JsonLines(path, Past(1, {"metrics.jsonl": 12}, None)).close()
    assert path.read_text() == '{"step": 0}\n'


def test_a_file_that_has_lost_records_is_told_and_not_filled_up(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"has 0 bytes, and had 12 .* checkpoint.resume="):
        JsonLines(path, Past(1, {"metrics.jsonl": 12}, None))


def test_text_that_utf8_cannot_hold_is_escaped_and_not_fatal(tmp_path):
    sink = JsonLines(tmp_path / "samples.jsonl")
    sink.write({"response": "a \ud800 b"})
    sink.close()
    assert json.loads((tmp_path / "samples.jsonl").read_text())["response"] == "a \ud800 b"


def test_a_record_with_nan_is_refused_because_it_is_not_json(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        sink.write({"train/loss": math.nan})
    sink.close()

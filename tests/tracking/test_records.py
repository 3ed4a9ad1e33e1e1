import json
import math

import pytest
from groups import group, sample

from slime.config.schema import NoTracking, TensorBoardTracking
from slime.data import Finish, Group, Prompt, Rollout
from slime.tracking.records import Times, rollout_metrics
from slime.tracking.sinks import JsonLines, build_sinks


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
    metrics = rollout_metrics(groups, reward_failures=1, dropped_prompts=0)
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


def test_a_rollout_without_a_reward_is_an_error():
    with pytest.raises(ValueError, match="no reward"):
        rollout_metrics([group(1, [1.0, None], [2, 4])], 0, 0)


def test_throughput_is_response_tokens_over_the_whole_iteration():
    times = Times.of([group(1, [1.0, 0.0], [2, 4])], 1.0, 0.5, 2.0, 0.25, iteration_s=4.0)
    assert times.response_tokens_per_s == pytest.approx(6 / 4)


def test_a_json_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write({"iteration": 0, "train/loss": 1e-9}, 0)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "iteration": 0,
        "train/loss": 1e-9,
    }
    sink.close()


def test_the_metrics_of_another_run_are_never_added_to(tmp_path):
    JsonLines(tmp_path / "metrics.jsonl").close()
    with pytest.raises(FileExistsError):
        JsonLines(tmp_path / "metrics.jsonl")


def test_text_that_utf8_cannot_hold_is_escaped_and_not_fatal(tmp_path):
    sink = JsonLines(tmp_path / "samples.jsonl")
    sink.write({"response": "a \ud800 b"}, 0)
    sink.close()
    assert json.loads((tmp_path / "samples.jsonl").read_text())["response"] == "a \ud800 b"


def test_a_record_with_nan_is_refused_because_it_is_not_json(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        sink.write({"train/loss": math.nan}, 0)
    sink.close()


def test_tensorboard_gets_the_same_numbers_under_the_same_names(tmp_path):
    with build_sinks(TensorBoardTracking(), tmp_path) as sinks:
        record = {"iteration": 3, "step": 7, "train/loss": 0.25, "train/grad_norm": None}
        sinks.write(record | {"rollout/reward_mean": 0.5}, 3)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "rollout/reward_mean"}
    [loss], [reward] = events.Scalars("train/loss"), events.Scalars("rollout/reward_mean")
    assert (loss.step, loss.value) == (7, 0.25)
    assert (reward.step, reward.value) == (3, 0.5)


def test_no_tracking_writes_metrics_jsonl_only(tmp_path):
    with build_sinks(NoTracking(), tmp_path) as sinks:
        sinks.write({"iteration": 0}, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]

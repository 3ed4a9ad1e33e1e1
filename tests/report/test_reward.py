import json

from slime.report.reward import draw_reward, read_curves

RECORDS = [
    {"iteration": 0, "evaluation/reward_mean": 0.1},
    {"iteration": 0, "step": 0, "train/loss": 0.3},
    {"iteration": 0, "step": 1, "train/loss": 0.2, "rollout/reward_mean": 0.25},
    {"iteration": 1, "step": 3, "train/loss": 0.1, "rollout/reward_mean": 0.5},
    {"iteration": 2, "evaluation/reward_mean": 0.6},
]


def write(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_curves_hold_each_iteration_and_each_evaluation_once(tmp_path):
    curves = read_curves(write(tmp_path / "metrics.jsonl", RECORDS))
    assert (curves.sampled.x, curves.sampled.y) == ((0, 1), (0.25, 0.5))
    assert (curves.held_out.x, curves.held_out.y) == ((0, 2), (0.1, 0.6))


def test_the_picture_is_a_png(tmp_path):
    picture = tmp_path / "reward.png"
    assert draw_reward(write(tmp_path / "metrics.jsonl", RECORDS), picture, "a run")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_without_an_iteration_has_no_picture(tmp_path):
    picture = tmp_path / "reward.png"
    assert not draw_reward(write(tmp_path / "metrics.jsonl", RECORDS[:1]), picture, "a run")
    assert not picture.exists()

"""What each tracker is told, read back from what it wrote."""

import json
import math

import psutil
import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tracking import wandb_file
from tracking.run_directory import CONFIG, ORIGIN, job_directory, run_directory

from slime.config.schema import (
    MlflowTracking,
    NoTracking,
    TensorBoardTracking,
    WandbMode,
    WandbTracking,
)
from slime.tracking.facts import read_facts
from slime.tracking.past import Past
from slime.tracking.tracker import Guarded, RunState, points
from slime.tracking.trackers import open_tracker

EVALUATION = {"iteration": 0, "evaluation/reward_mean": 0.25, "evaluation/prompts": 8}
STEPS = [
    {"iteration": 3, "step": 6, "train/loss": 1e-9, "train/grad_norm": None, "train/skipped": True},
    {"iteration": 3, "step": 7, "train/loss": -0.5, "rollout/reward_mean": 0.5, "time/push_s": 2},
]
CURVES = {
    "evaluation/reward_mean": [(0, 0.25)],
    "evaluation/prompts": [(0, 8.0)],
    "train/loss": [(6, 1e-9), (7, -0.5)],
    "train/skipped": [(6, 1.0)],
    "rollout/reward_mean": [(3, 0.5)],
    "time/push_s": [(3, 2.0)],
}
AXIS = {name: "step" if name.startswith("train/") else "iteration" for name in CURVES}


def track(config, directory, state=RunState.finished):
    """A whole run, as far as a tracker sees it."""
    tracker = open_tracker(config, directory)
    for record in [EVALUATION, *STEPS]:
        tracker.write(list(points(record, record["iteration"])))
    tracker.close(state)
    return tracker


def wandb_records(directory):
    [path] = directory.glob("wandb/offline-run-*/run-*.wandb")
    return wandb_file.records(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """MLflow takes seconds to make a database."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def mlflow_run(store, experiment="slime"):
    client = MlflowClient(store)
    [run] = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, run


def tensorboard_events(directory):
    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    return events


def curves_of_tensorboard(directory):
    events = tensorboard_events(directory)
    return {n: [(e.step, e.value) for e in events.Scalars(n)] for n in events.Tags()["scalars"]}


def curves_of_wandb(directory):
    found = wandb_records(directory)
    axes, curves = wandb_file.axes(found), {}
    for row in wandb_file.history(found):
        for name in (name for name in row if "/" in name):
            curves.setdefault(name, []).append((row[axes[name]], row[name]))
    return curves


def curves_of_mlflow(directory):
    client, run = mlflow_run(f"sqlite:///{directory}/mlflow.db")
    histories = {
        name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
    }
    return {name: [(m.step, m.value) for m in history] for name, history in histories.items()}


TRACKERS = {
    "tensorboard": (TensorBoardTracking(), curves_of_tensorboard),
    "wandb": (WandbTracking(), curves_of_wandb),
    "mlflow": (MlflowTracking(), curves_of_mlflow),
}


@pytest.mark.parametrize("name", TRACKERS)
def test_every_number_is_a_point_over_its_own_axis_and_null_is_none(tmp_path, name):
    config, curves = TRACKERS[name]
    directory = run_directory(tmp_path)
    track(config, directory)
    found = curves(directory)
    assert set(found) == set(CURVES)
    for curve, expected in CURVES.items():
        assert [x for x, _ in found[curve]] == [x for x, _ in expected], curve
        for (_, value), (_, wanted) in zip(found[curve], expected, strict=True):
            assert math.isclose(value, wanted, rel_tol=1e-6), curve  # TensorBoard keeps float32


def test_the_axis_is_the_step_for_train_and_the_iteration_for_the_rest():
    found = [p for record in [EVALUATION, *STEPS] for p in points(record, record["iteration"])]
    assert {point.name: point.axis for point in found} == AXIS


def test_wandb_knows_config_origin_name_project_and_the_end(tmp_path):
    directory = run_directory(tmp_path)
    track(WandbTracking(project="p"), directory, RunState.failed)
    found = wandb_records(directory)
    config = wandb_file.config(found)
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert {key: config[key] for key in ORIGIN} == ORIGIN | {"dirty": "false"}
    [run] = [r.run for r in found if r.WhichOneof("record_type") == "run"]
    assert (run.display_name, run.project, run.run_group) == ("20260101-120000", "p", "")
    [end] = [r.exit for r in found if r.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 1
    assert '"failed"' in [u.value_json for r in found for u in r.summary.update if u.key == "state"]


def test_a_job_of_a_sweep_is_named_after_it_and_grouped_by_it(tmp_path):
    directory = job_directory(tmp_path)
    track(WandbTracking(), directory)
    [run] = [r.run for r in wandb_records(directory) if r.WhichOneof("record_type") == "run"]
    assert (run.display_name, run.run_group) == ("sweep-7/2", "sweep-7")
    assert read_facts(directory).origin["sweep"] == "sweep-7"


def test_a_job_with_a_name_is_known_by_the_sweeps_own_file(tmp_path):
    directory = run_directory(tmp_path / "sweep-7", "seed-3")
    assert read_facts(directory).sweep is None
    (directory.parent / "multirun.yaml").write_text("")
    assert read_facts(directory).name == "sweep-7/seed-3"


def test_names_of_the_users_own_win(tmp_path, store):
    directory = job_directory(tmp_path)
    track(WandbTracking(run_name="mine", group="ours"), directory)
    [run] = [r.run for r in wandb_records(directory) if r.WhichOneof("record_type") == "run"]
    assert (run.display_name, run.run_group) == ("mine", "ours")
    track(MlflowTracking(uri=store, run_name="mine", experiment="theirs"), directory)
    _, run = mlflow_run(store, "theirs")
    assert run.info.run_name == "mine"


def test_what_the_environment_says_of_wandb_does_not_change_where_a_run_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "other")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    directory = run_directory(tmp_path)
    track(WandbTracking(), directory)
    [run] = [r.run for r in wandb_records(directory) if r.WhichOneof("record_type") == "run"]
    assert run.project == "slime"


def test_no_api_key_lands_in_a_run_directory(tmp_path, monkeypatch):
    secret = "c0ffee" * 7
    monkeypatch.setenv("WANDB_API_KEY", secret)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret)
    directory = run_directory(tmp_path)
    track(WandbTracking(), directory)
    track(MlflowTracking(), directory)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_wandb_leaves_no_process_behind(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    track(WandbTracking(), run_directory(tmp_path))
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (RunState.finished, "FINISHED"),
        (RunState.failed, "FAILED"),
        (RunState.interrupted, "KILLED"),
    ],
)
def test_mlflow_knows_config_origin_name_and_the_end(tmp_path, store, state, status):
    track(MlflowTracking(uri=store, experiment=status), run_directory(tmp_path), state)
    _, run = mlflow_run(store, status)
    assert run.info.run_name == "20260101-120000"
    assert run.info.status == status
    assert run.data.tags["state"] == state.value
    assert run.data.params == {
        "recipe": "dapo/v1",
        "seed": "3",
        "loss.aggregation": "constant",
        "loss.divisor": "40960.0",
        "loss.mask_truncated": "false",
        "rollout.save": "null",
        "rollout.engine.name": "local",
        "task.stop_tokens": '["\\n", "é"]',
    }
    expected = ORIGIN | {"dirty": "false", "mlflow.source.git.commit": "f" * 40}
    assert {key: run.data.tags[key] for key in expected} == expected


def test_runs_of_one_mlflow_store_share_an_experiment(tmp_path, store):
    config = MlflowTracking(uri=store, experiment="shared")
    for name in ("first", "second"):
        track(config, run_directory(tmp_path, name, recipe=None))
    client = MlflowClient(store)
    [experiment] = [e for e in client.search_experiments() if e.name == "shared"]
    found = client.search_runs([experiment.experiment_id], "tags.fingerprint = '0123456789ab'")
    assert {run.info.run_name for run in found} == {"first", "second"}
    assert {run.data.tags["recipe"] for run in found} == {"none"}


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (RunState.finished, Status.STATUS_SUCCESS),
        (RunState.failed, Status.STATUS_FAILURE),
        (RunState.interrupted, Status.STATUS_FAILURE),
    ],
)
def test_tensorboard_knows_config_origin_name_and_the_end(tmp_path, state, status):
    directory = run_directory(tmp_path)
    track(TensorBoardTracking(), directory, state)
    events = tensorboard_events(directory)
    start = metadata.parse_session_start_info_plugin_data(
        events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    )
    assert start.group_name == "20260101-120000"
    assert start.hparams["loss.divisor"].number_value == 40960
    assert start.hparams["loss.mask_truncated"].WhichOneof("kind") == "bool_value"
    assert start.hparams["fingerprint"].string_value == "0123456789ab"
    assert start.hparams["recipe"].string_value == "dapo/v1"
    assert "rollout.save" not in start.hparams
    end = metadata.parse_session_end_info_plugin_data(
        events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    )
    assert end.status == status
    [text] = events.Tensors("run/state/text_summary")
    assert text.tensor_proto.string_val == [state.value.encode()]


def test_none_opens_nothing(tmp_path):
    assert open_tracker(NoTracking(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_cannot_start_does_not_stop_the_run(tmp_path):
    warnings = []
    (tmp_path / "file").write_text("where a folder should be")
    config = MlflowTracking(uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    directory = run_directory(tmp_path)
    guarded = Guarded("mlflow", lambda: open_tracker(config, directory), warnings.append)
    guarded.write(STEPS[0], 3)
    guarded.close(RunState.finished)
    [warning] = warnings
    assert warning.startswith("tracking=mlflow failed and is off: ")
    assert guarded.where is None


def test_online_without_a_key_asks_nobody(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    warnings = []
    config, directory = WandbTracking(mode=WandbMode.online), run_directory(tmp_path)
    before = set(psutil.Process().children(recursive=True))
    Guarded("wandb", lambda: open_tracker(config, directory), warnings.append)
    assert "W&B has no API key for its server: run wandb login" in warnings[0]
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_that_goes_on_is_one_run_with_all_of_its_curves(tmp_path, name):
    """The second launch goes on after the evaluation: what came after is written once more."""
    config, _ = TRACKERS[name]
    directory = run_directory(tmp_path)
    (directory / "metrics.jsonl").write_text(json.dumps(EVALUATION) + "\n")
    first = track(config, directory, RunState.failed)
    again = open_tracker(config, directory, Past(0, {}, first.run_id))
    for record in STEPS:
        again.write(list(points(record, record["iteration"])))
    again.close(RunState.finished)
    assert again.run_id == first.run_id
    found = {"tensorboard": curves_of_tensorboard, "mlflow": curves_of_mlflow}.get(name)
    if found is None:
        launches = [wandb_file.records(p) for p in directory.glob("wandb/offline-run-*/*.wandb")]
        assert len({wandb_file.run_id(launch) for launch in launches}) == 1
    else:
        values = found(directory)
        for curve, expected in CURVES.items():
            points_once = sorted(set(values[curve]))
            assert name == "mlflow" or len(values[curve]) == len(points_once), curve
            assert [x for x, _ in points_once] == [x for x, _ in expected], curve
            assert [y for _, y in points_once] == pytest.approx([y for _, y in expected]), curve

"""A real run, tracked."""

import json

import pytest
from launching import TINY, launch, left_behind
from mlflow import MlflowClient


@pytest.mark.slow
def test_a_run_is_in_mlflow_as_it_is_in_metrics_jsonl(tmp_path):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    run = launch(tmp_path, *TINY, "iterations=1", "tracking=mlflow", f"tracking.uri={store}")
    assert run.exit_code == 0, run.stderr
    client = MlflowClient(store)
    [tracked] = client.search_runs([client.get_experiment_by_name("slime").experiment_id])
    record = json.loads((run.run_directory / "run.json").read_text())
    assert tracked.data.tags["fingerprint"] == record["fingerprint"]
    assert (tracked.info.run_name, tracked.info.status) == (run.run_directory.name, "FINISHED")
    assert tracked.data.params["model.name"] == "tiny"
    merged = {key: value for line in run.records() for key, value in line.items()}
    numbers = {key: float(v) for key, v in merged.items() if "/" in key and v is not None}
    assert tracked.data.metrics == numbers
    assert left_behind(tmp_path) == []

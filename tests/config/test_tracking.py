"""A tracker that is missing is a config error, and no password is ever repeated."""

import importlib.util

import pytest


def test_a_tracker_that_is_not_installed_is_a_config_error_that_names_its_extra(
    command, monkeypatch
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else find_spec(name)
    )
    ended = command("tracking=wandb")
    assert (ended.exit_code, ended.trained) == (2, [])
    assert ended.messages == [
        "tracking=wandb needs the package wandb: pip install -c constraints.txt -e '.[trackers]'"
    ]


@pytest.mark.parametrize(
    "uri", ["https://me:hunter2@mlflow.example", "postgresql://me:a/hunter2@db/x", "me:hunter2@db"]
)
def test_a_password_in_a_uri_is_refused_and_not_repeated(command, uri):
    ended = command("tracking=mlflow", f"tracking.uri={uri}")
    assert ended.messages == [
        "tracking.uri must not hold a password, it would be written to resolved.yaml: drop it and "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
    ]
    assert "hunter2" not in ended.err

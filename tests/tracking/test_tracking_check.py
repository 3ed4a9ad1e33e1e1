"""What is said about a tracker before anything starts."""

import importlib.util
import sys

import pytest

from slime.config.schema import MlflowTracking, TensorBoardTracking, WandbMode, WandbTracking
from slime.tracking import check

ONLINE = WandbTracking(mode=WandbMode.online)
INSTALL = "pip install -c constraints.txt -e '.[trackers]'"
NO_KEY = (
    "tracking.mode=online needs an API key of W&B, and there is none: run wandb login, set "
    "WANDB_API_KEY, or write tracking.mode=offline"
)


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """A user who has never logged in.  -> the home directory"""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("WANDB_CONFIG_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def without(monkeypatch):
    """Hides packages from find_spec."""
    find_spec = importlib.util.find_spec

    def hide(*packages):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name in packages else find_spec(name, *rest),
        )

    return hide


@pytest.mark.parametrize(
    ("config", "hidden", "line"),
    [
        (WandbTracking(), "wandb", f"tracking=wandb needs the package wandb: {INSTALL}"),
        (MlflowTracking(), "mlflow", f"tracking=mlflow needs the package mlflow: {INSTALL}"),
        (
            MlflowTracking(),
            "sqlalchemy",
            f"tracking=mlflow needs the package sqlalchemy: {INSTALL}",
        ),
    ],
)
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(without, config, hidden, line):
    assert list(check.problems(config)) == []
    without(hidden)
    assert list(check.problems(config)) == [line]


def test_a_server_of_mlflow_needs_no_database_here(without):
    without("sqlalchemy", "alembic")
    assert list(check.problems(MlflowTracking(uri="https://mlflow.example"))) == []


def test_a_folder_named_wandb_is_not_taken_for_the_package(tmp_path, monkeypatch):
    (tmp_path / "mlflow_of_nobody").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("mlflow_of_nobody") is not None
    assert not check._is_installed("mlflow_of_nobody")


@pytest.mark.usefixtures("nobody")
def test_no_library_is_imported_to_find_out():
    before = set(sys.modules)
    for config in (ONLINE, MlflowTracking(), TensorBoardTracking()):
        list(check.problems(config))
    assert not {"wandb", "mlflow", "sqlalchemy", "alembic"} & (set(sys.modules) - before)


@pytest.mark.usefixtures("nobody")
def test_online_without_any_key_is_an_error_and_offline_is_not():
    assert list(check.problems(ONLINE)) == [NO_KEY]
    assert list(check.problems(WandbTracking())) == []


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("name", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_key_in_the_environment_will_do(monkeypatch, name):
    monkeypatch.setenv(name, "something")
    assert list(check.problems(ONLINE)) == []


def test_a_key_in_netrc_will_do_if_it_is_for_the_server(nobody, monkeypatch):
    (nobody / ".netrc").write_text("machine github.com login a password b\n")
    assert list(check.problems(ONLINE)) == [NO_KEY]
    (nobody / ".netrc").write_text("machine api.wandb.ai login user password k\n")
    assert list(check.problems(ONLINE)) == []
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8080")
    assert list(check.problems(ONLINE)) == [NO_KEY]
    (nobody / ".netrc").write_text("machine wandb.example:8080 login user password k\n")
    assert list(check.problems(ONLINE)) == []


def test_settings_of_wandbs_own_may_hold_what_it_takes(nobody):
    settings = nobody / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://wandb.example\n")
    assert list(check.problems(ONLINE)) == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:5000",
        "https://me@mlflow.example",
        "sqlite:///mlflow.db",
        "postgresql+psycopg2://db/x",
        "databricks",
        "databricks://profile",
    ],
)
def test_the_stores_that_mlflow_knows_are_accepted(uri):
    assert list(MlflowTracking(uri=uri).problems()) == []

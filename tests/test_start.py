"""What is found wrong when a run's inputs are opened, before a worker is started."""

import json
from types import SimpleNamespace

import pytest
from config.conftest import config, loader  # noqa: F401  fixtures

from slime.config.schema import ConfigError, PathModel, TinyModel
from slime.model.check import problems
from slime.model.tiny import write_tiny_model
from slime.start import start


def test_a_token_that_is_made_on_loading_needs_a_row_too(config, tmp_path):  # noqa: F811
    """tokenizer.json does not have it, so it cannot be known earlier."""
    write_tiny_model(TinyModel(hidden_size=16, layers=1), tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "[new]"}))
    assert list(problems(PathModel(path=str(tmp_path)))) == []
    run = start(
        config("model=path", f"model.path={tmp_path}"),
        tmp_path,
        SimpleNamespace(phase=lambda _: None),
        beginning=None,
    )
    with (
        pytest.raises(ConfigError, match=r"tokens up to 104, and config\.json vocab_size=104"),
        run,
    ):
        pass

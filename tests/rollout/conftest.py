import pytest

from slime.config.schema import TinyModel
from slime.model.tiny import write_tiny_model
from slime.model.tokenizer import load_tokenizer
from slime.rollout.local import LocalEngine


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_model(TinyModel(hidden_size=32, layers=2), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_folder):
    return load_tokenizer(tiny_folder)


@pytest.fixture(scope="session")
def tiny_engine(tiny_folder):
    return LocalEngine(str(tiny_folder), batch_size=128)

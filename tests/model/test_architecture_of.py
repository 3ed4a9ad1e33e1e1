"""What is known of a model before its folder is written is what the folder then says."""

import pytest

from slime.config.schema import PathModel, SmolLM2Model, TinyModel, TinyMoeModel
from slime.model.architecture import read_architecture
from slime.model.architecture_of import architecture_of
from slime.model.prepare import prepare_model


@pytest.mark.parametrize(
    "config",
    [TinyModel(hidden_size=64, layers=3), TinyMoeModel(hidden_size=32, experts=6), SmolLM2Model()],
)
def test_it_is_the_architecture_of_the_folder(config):
    folder = prepare_model(config)
    assert architecture_of(config) == read_architecture(folder)
    assert architecture_of(PathModel(path=str(folder))) == read_architecture(folder)

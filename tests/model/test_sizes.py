"""Which layouts a model can be divided into."""

import pytest
from tiny_models import write_tiny_model

from slime.config.schema import ParallelConfig, PathModel, SmolLM2Model, TinyModel
from slime.model.architecture import read_architecture
from slime.model.check import layout_problems
from slime.model.prepare import prepare_model
from slime.model.sizes import Sizes, problems_of_layout, sizes_of


def test_the_sizes_of_tiny_are_those_of_the_folder_it_becomes():
    config = TinyModel(hidden_size=64, layers=3)
    read = read_architecture(prepare_model(config))
    assert sizes_of(config) == Sizes(
        read.layers,
        read.attention_heads,
        read.key_value_heads,
        read.feed_forward_size,
        read.vocabulary_size,
    )


def test_the_sizes_of_a_folder_are_those_of_its_config_json(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "qwen3")
    assert sizes_of(PathModel(path=str(folder))) == Sizes(2, 4, 2, 80, 96)


@pytest.mark.parametrize(
    ("config", "parallel", "expected"),
    [
        (TinyModel(), ParallelConfig(tensor=2, pipeline=4, context=3, data=5), []),
        (SmolLM2Model(), ParallelConfig(tensor=3, pipeline=15), []),
        (
            SmolLM2Model(),
            ParallelConfig(tensor=2),
            [
                "parallel.tensor=2 does not divide the model's 9 attention heads and 3 key-value "
                "heads: write parallel.tensor=1|3"
            ],
        ),
        (
            TinyModel(layers=6),
            ParallelConfig(pipeline=4),
            [
                "parallel.pipeline=4 does not divide the model's 6 layers: write "
                "parallel.pipeline=1|2|3|6"
            ],
        ),
    ],
)
def test_a_layout_that_does_not_divide_the_model_is_told_what_does(config, parallel, expected):
    assert list(layout_problems(config, parallel)) == expected


def test_every_count_that_tensor_parallelism_shares_must_be_divisible():
    fitting = Sizes(4, 6, 6, 12, 18)
    assert list(problems_of_layout(fitting, ParallelConfig(tensor=3))) == []
    for name, count in (
        ("attention_heads", 8),
        ("key_value_heads", 4),
        ("feed_forward_size", 10),
        ("vocabulary_size", 20),
    ):
        odd = Sizes(**{**{f: getattr(fitting, f) for f in fitting.__slots__}, name: count})
        [problem] = problems_of_layout(odd, ParallelConfig(tensor=3))
        assert str(count) in problem

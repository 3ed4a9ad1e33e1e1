"""Which layouts a model can be divided into."""

from dataclasses import replace

import pytest
from tiny_models import write_tiny_model

from slime.config.schema import ParallelConfig, PathModel, SmolLM2Model, TinyModel, TinyMoeModel
from slime.model.check import layout_problems
from slime.model.prepare import prepare_model
from slime.model.sizes import Sizes, problems_of_layout, sizes_of


def test_the_sizes_of_tiny_are_those_of_the_folder_it_becomes():
    for config in (
        TinyModel(hidden_size=64, layers=3),
        TinyMoeModel(hidden_size=32, layers=2, experts=6),
    ):
        assert sizes_of(config) == sizes_of(PathModel(path=str(prepare_model(config))))


def test_the_sizes_of_a_folder_are_those_of_its_config_json(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "qwen3")
    assert sizes_of(PathModel(path=str(folder))) == Sizes(2, 4, 2, 80, 96)


@pytest.mark.parametrize(
    ("config", "parallel", "expected"),
    [
        (TinyMoeModel(), ParallelConfig(data=8, expert=8, tensor=2), []),
        (
            TinyMoeModel(experts=6),
            ParallelConfig(data=4, expert=4),
            [
                "parallel.expert=4 does not divide the model's 6 experts: write "
                "parallel.expert=1|2|3|6"
            ],
        ),
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
        odd = replace(fitting, **{name: count})
        [problem] = problems_of_layout(odd, ParallelConfig(tensor=3))
        assert str(count) in problem


def test_the_rows_of_an_expert_count_and_those_of_layers_that_are_not_there_do_not(tmp_path):
    changes = {"intermediate_size": 81, "moe_intermediate_size": 24}
    mixture = write_tiny_model(tmp_path / "mixture", "qwen3_moe", **changes)
    both = write_tiny_model(tmp_path / "both", "qwen3_moe", **changes, mlp_only_layers=[1])
    assert sizes_of(PathModel(path=str(mixture))) == Sizes(2, 4, 2, 24, 96, experts=4)
    assert sizes_of(PathModel(path=str(both))).feed_forward_size == 3
